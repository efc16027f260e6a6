"""Where the object store is and with which keys: from the environment, a mounted secret, or the usual AWS files.

Keys are looked for in this order, and the first place that has any wins:
1. CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY (CULLING_S3_SESSION_TOKEN where there is one);
2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN);
3. the files accesskey and secretkey (sessiontoken) in the folder CULLING_S3_SECRET_DIR: a mounted Kubernetes secret;
4. the profile AWS_PROFILE of ~/.aws/credentials (AWS_SHARED_CREDENTIALS_FILE).
They never become part of a configuration, an artifact, a command line or a message.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataset_culling.errors import ConfigError


class StoreSettings(BaseSettings):
    """The environment's say about the object store."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=True, hide_input_in_errors=True
    )

    endpoint: str = Field(
        "",
        validation_alias=AliasChoices("CULLING_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT"),
        description="http://host:port or https://host:port; empty: Amazon's own.",
    )
    region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("CULLING_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        description="Region to sign for.",
    )
    culling_access_key: SecretStr = Field(SecretStr(""), validation_alias="CULLING_S3_ACCESS_KEY")
    culling_secret_key: SecretStr = Field(SecretStr(""), validation_alias="CULLING_S3_SECRET_KEY")
    culling_session_token: SecretStr = Field(SecretStr(""), validation_alias="CULLING_S3_SESSION_TOKEN")
    aws_access_key: SecretStr = Field(SecretStr(""), validation_alias="AWS_ACCESS_KEY_ID")
    aws_secret_key: SecretStr = Field(SecretStr(""), validation_alias="AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr = Field(SecretStr(""), validation_alias="AWS_SESSION_TOKEN")
    secret_dir: str = Field("", validation_alias="CULLING_S3_SECRET_DIR", description="Folder of a mounted secret.")
    aws_file: str = Field("~/.aws/credentials", validation_alias="AWS_SHARED_CREDENTIALS_FILE")
    aws_profile: str = Field("default", validation_alias="AWS_PROFILE")
    ca_file: str = Field(
        "",
        validation_alias=AliasChoices("CULLING_S3_CA_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"),
        description="PEM file of the authorities that vouch for an https:// endpoint; empty: the public ones.",
    )
    retry_s: float = Field(
        120.0,
        ge=0,
        le=3600,
        validation_alias="CULLING_S3_RETRY_S",
        description="For how long a store that does not answer is asked again.",
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, validation_alias="CULLING_S3_TIMEOUT_S", description="Longest silence on a connection."
    )
    workers: int = Field(
        3, ge=1, le=64, validation_alias="CULLING_S3_WORKERS", description="Requests at once for one large object."
    )
    part_mib: int = Field(
        5, ge=5, le=512, validation_alias="CULLING_S3_PART_MIB", description="Size of the parts that go up."
    )


ENVIRONMENT: tuple[str, ...] = tuple(
    name
    for field in StoreSettings.model_fields.values()
    for name in (
        field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [field.validation_alias]
    )
    if isinstance(name, str)
)
"""Every environment variable that is read."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with, and where it came from, for messages."""

    access_key: SecretStr
    secret_key: SecretStr
    session_token: SecretStr
    source: str


def load_settings() -> StoreSettings:
    """Read the environment.

    Raises:
        ConfigError: If a value is wrong; the value itself is not repeated, as it may be a secret in the wrong place.
    """
    try:
        settings = StoreSettings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"environment: {problems}. Mend or unset the variable.") from None
    if settings.endpoint:
        split_endpoint(settings.endpoint)
    return settings


def split_endpoint(endpoint: str) -> tuple[str, bool]:
    """Host with port, and whether it speaks TLS, of 'http://host:port' or 'https://host'.

    Raises:
        ConfigError: If it is no such URL; one that carries keys is refused without being repeated.
    """
    parts = urlsplit(endpoint)
    if parts.username or parts.password:
        raise ConfigError(
            "CULLING_S3_ENDPOINT: expected http://HOST:PORT, found a URL with keys in it. Put the keys into "
            "CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(
            f"CULLING_S3_ENDPOINT: expected http://HOST:PORT or https://HOST:PORT, found '{endpoint}'. Mend it."
        )
    return parts.netloc, parts.scheme == "https"


def key_files(settings: StoreSettings) -> tuple[Path, ...]:
    """The files that keys may come from, so that a rotated secret is noticed."""
    if settings.culling_access_key.get_secret_value() or settings.aws_access_key.get_secret_value():
        return ()
    if settings.secret_dir:
        return tuple(Path(settings.secret_dir) / name for name in _SECRET_FILES)
    return (Path(settings.aws_file).expanduser(),)


def find_keys(settings: StoreSettings) -> Keys:
    """The keys to sign with.

    Raises:
        ConfigError: If there are none, or half of a pair.
    """
    for names, access, secret, token in (
        (
            ("CULLING_S3_ACCESS_KEY", "CULLING_S3_SECRET_KEY"),
            settings.culling_access_key,
            settings.culling_secret_key,
            settings.culling_session_token,
        ),
        (
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            settings.aws_access_key,
            settings.aws_secret_key,
            settings.aws_session_token,
        ),
    ):
        if access.get_secret_value() or secret.get_secret_value():
            return _both(Keys(access, secret, token, f"the environment ({names[0]})"), names)
    if settings.secret_dir:
        folder = Path(settings.secret_dir)
        access_key, secret_key, session_token = (_secret(folder / name) for name in _SECRET_FILES)
        return _both(Keys(access_key, secret_key, session_token, f"{folder}"), _SECRET_FILES[:2])
    return _from_aws_file(Path(settings.aws_file).expanduser(), settings.aws_profile)


_SECRET_FILES = ("accesskey", "secretkey", "sessiontoken")


def _secret(file: Path) -> SecretStr:
    try:
        return SecretStr(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return SecretStr("")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "other bytes than text"
        raise ConfigError(f"{file}: expected a key of the object store, found {reason}. Mount the secret.") from None


def _from_aws_file(file: Path, profile: str) -> Keys:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        kind = type(error).__name__
        raise ConfigError(f"{file}: expected AWS credentials, found a file that does not read ({kind}).") from None
    if not parser.has_option(profile, "aws_access_key_id"):
        raise ConfigError(
            "object store: expected keys, found none. Set CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY, or "
            f"CULLING_S3_SECRET_DIR to a mounted secret, or add [{profile}] to {file}."
        )
    access, secret, token = (
        SecretStr(parser.get(profile, name, fallback=""))
        for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    )
    return _both(Keys(access, secret, token, f"{file} [{profile}]"), ("aws_access_key_id", "aws_secret_access_key"))


def _both(keys: Keys, names: tuple[str, ...]) -> Keys:
    for value, name in zip((keys.access_key, keys.secret_key), names, strict=False):
        if not value.get_secret_value():
            raise ConfigError(f"object store: expected {names[0]} and {names[1]}, found no {name}. Set both.")
    return keys


def environment_mark() -> int:
    """A number that changes when the environment's say does; it tells nothing about the values."""
    return hash(tuple((name, os.environ.get(name)) for name in (*ENVIRONMENT, "HOME")))
