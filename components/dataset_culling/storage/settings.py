"""Endpoint and keys of the object store: from the environment, a mounted secret, or the usual AWS files.

The first place in this order that has keys is used:
1. CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY (CULLING_S3_SESSION_TOKEN if there is one);
2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN);
3. the files accesskey and secretkey (sessiontoken) in the folder CULLING_S3_SECRET_DIR: a mounted Kubernetes secret;
4. the profile AWS_PROFILE of ~/.aws/credentials (AWS_SHARED_CREDENTIALS_FILE).
They never become part of a configuration, an artifact, a command line or a message.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataset_culling.errors import ConfigError

_OURS = ("CULLING_S3_ACCESS_KEY", "CULLING_S3_SECRET_KEY", "CULLING_S3_SESSION_TOKEN")
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_FILES = ("accesskey", "secretkey", "sessiontoken")
_PROFILE = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def _secret(name: str) -> Any:
    return Field(SecretStr(""), validation_alias=name)


class StoreSettings(BaseSettings):
    """Settings of the object store, from environment variables."""

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
    access_key: SecretStr = _secret(_OURS[0])
    secret_key: SecretStr = _secret(_OURS[1])
    session_token: SecretStr = _secret(_OURS[2])
    aws_access_key: SecretStr = _secret(_AWS[0])
    aws_secret_key: SecretStr = _secret(_AWS[1])
    aws_session_token: SecretStr = _secret(_AWS[2])
    secret_dir: str = Field("", validation_alias="CULLING_S3_SECRET_DIR", description="Folder of a mounted secret.")
    aws_file: str = Field("~/.aws/credentials", validation_alias="AWS_SHARED_CREDENTIALS_FILE")
    aws_profile: str = Field("default", validation_alias="AWS_PROFILE")
    ca_file: str = Field(
        "",
        validation_alias=AliasChoices("CULLING_S3_CA_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"),
        description="PEM file of the authorities that vouch for an https:// endpoint; empty: the public ones.",
    )
    retry_s: float = Field(
        120.0, ge=0, le=3600, validation_alias="CULLING_S3_RETRY_S", description="Seconds of retries of a request."
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, validation_alias="CULLING_S3_TIMEOUT_S", description="Longest silence on a connection."
    )
    workers: int = Field(
        3, ge=1, le=64, validation_alias="CULLING_S3_WORKERS", description="Requests at once for one large object."
    )
    part_mib: int = Field(
        5, ge=5, le=512, validation_alias="CULLING_S3_PART_MIB", description="Size of the parts of a large object."
    )


ENVIRONMENT: tuple[str, ...] = tuple(
    str(name)
    for field in StoreSettings.model_fields.values()
    for name in getattr(field.validation_alias, "choices", [field.validation_alias])
)
"""Every environment variable that is read."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that sign a request, and their source for messages."""

    access_key: SecretStr
    secret_key: SecretStr
    session_token: SecretStr
    source: str


def load_settings() -> StoreSettings:
    """Read the environment.

    Raises:
        ConfigError: If a value is invalid; the value is not repeated, as it may be a secret in the wrong place.
    """
    try:
        settings = StoreSettings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"environment: {problems}. Correct or unset the variable.") from None
    if settings.endpoint:
        split_endpoint(settings.endpoint)
    return settings


def split_endpoint(endpoint: str) -> tuple[str, bool]:
    """Split 'http://host:port' or 'https://host' into host with port, and whether it uses TLS.

    Raises:
        ConfigError: If the URL is invalid; one that carries keys is not repeated.
    """
    parts = urlsplit(endpoint)
    if parts.username or parts.password:
        raise ConfigError(
            "CULLING_S3_ENDPOINT: expected http://HOST:PORT, found a URL with keys in it. Put the keys into "
            "CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(
            f"CULLING_S3_ENDPOINT: expected http://HOST:PORT or https://HOST:PORT, found '{endpoint}'. Correct it."
        )
    return parts.netloc, parts.scheme == "https"


def find_keys(settings: StoreSettings) -> Keys:
    """Return the keys to sign with. Files are read at every call, so a rotated secret is used at once.

    Raises:
        ConfigError: If there are no keys, or half of a pair.
    """
    ours = (settings.access_key, settings.secret_key, settings.session_token)
    aws = (settings.aws_access_key, settings.aws_secret_key, settings.aws_session_token)
    for names, found in ((_OURS, ours), (_AWS, aws)):
        if found[0].get_secret_value() or found[1].get_secret_value():
            return _pair(names, found, f"the environment ({names[0]})")
    if settings.secret_dir:
        folder = Path(settings.secret_dir)
        return _pair(_FILES, [_read(folder / name) for name in _FILES], str(folder))
    file, profile = Path(settings.aws_file).expanduser(), settings.aws_profile
    parser = configparser.ConfigParser(interpolation=None)  # minio's AWSConfigProvider fails on a '%' in a key
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: invalid AWS credentials file ({type(error).__name__}). Correct it.") from None
    if not parser.has_option(profile, _PROFILE[0]):
        raise ConfigError(
            "object store: keys are missing. Set CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY, or "
            f"CULLING_S3_SECRET_DIR to a mounted secret, or add [{profile}] to {file}."
        )
    keys = [SecretStr(parser.get(profile, name, fallback="")) for name in _PROFILE]
    return _pair(_PROFILE, keys, f"{file} [{profile}]")


def _read(file: Path) -> SecretStr:
    try:
        return SecretStr(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return SecretStr("")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not text"
        raise ConfigError(f"{file}: expected a key of the object store, found {reason}. Mount the secret.") from None


def _pair(names: Sequence[str], keys: Sequence[SecretStr], source: str) -> Keys:
    for name, key in zip(names[:2], keys, strict=False):
        if not key.get_secret_value():
            raise ConfigError(f"object store: expected {names[0]} and {names[1]}, found no {name}. Set both.")
    return Keys(keys[0], keys[1], keys[2], source)


def environment_mark() -> int:
    """Return a number that changes with the environment's settings; it does not reveal them."""
    return hash(tuple((name, os.environ.get(name)) for name in (*ENVIRONMENT, "HOME")))
