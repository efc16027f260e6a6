"""Where keys are looked for, and that they show nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.storage.settings import ENVIRONMENT, environment_mark, find_keys, load_settings, split_endpoint

OURS = {"CULLING_S3_ACCESS_KEY": "ours", "CULLING_S3_SECRET_KEY": "our-secret"}
AWS = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_SESSION_TOKEN": "aws-token"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def found() -> tuple[str, str, str, str]:
    keys = find_keys(load_settings())
    return (
        keys.access_key.get_secret_value(),
        keys.secret_key.get_secret_value(),
        keys.session_token.get_secret_value(),
        keys.source,
    )


def mounted_secret(folder: Path) -> str:
    folder.mkdir()
    (folder / "accesskey").write_text("mounted\n")
    (folder / "secretkey").write_text("mounted-secret\n")
    return str(folder)


def aws_file(file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "[default]\naws_access_key_id = filed\naws_secret_access_key = filed%secret\n"
        "[night]\naws_access_key_id = owl\naws_secret_access_key = owl-secret\naws_session_token = owl-token\n"
    )
    return str(file)


def test_find_keys__ours_before_aws_before_secret_before_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    aws_file(tmp_path / ".aws" / "credentials")
    assert found() == ("filed", "filed%secret", "", f"{tmp_path}/.aws/credentials [default]")
    monkeypatch.setenv("CULLING_S3_SECRET_DIR", mounted_secret(tmp_path / "secret"))
    assert found() == ("mounted", "mounted-secret", "", f"{tmp_path}/secret")
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    assert found() == ("aws", "aws-secret", "aws-token", "the environment (AWS_ACCESS_KEY_ID)")
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    assert found() == ("ours", "our-secret", "", "the environment (CULLING_S3_ACCESS_KEY)")


def test_find_keys__aws_profile_and_file_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", aws_file(tmp_path / "elsewhere"))
    monkeypatch.setenv("AWS_PROFILE", "night")
    assert found() == ("owl", "owl-secret", "owl-token", f"{tmp_path}/elsewhere [night]")


@pytest.mark.parametrize("name", ["CULLING_S3_ACCESS_KEY", "CULLING_S3_SECRET_KEY"])
def test_find_keys__half_a_pair(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, OURS[name])
    for other, value in AWS.items():
        monkeypatch.setenv(other, value)
    missing = next(other for other in OURS if other != name)
    with pytest.raises(
        ConfigError, match=f"expected CULLING_S3_ACCESS_KEY and CULLING_S3_SECRET_KEY, found no {missing}"
    ):
        find_keys(load_settings())


def test_find_keys__none_names_three_ways() -> None:
    with pytest.raises(ConfigError) as caught:
        find_keys(load_settings())
    for way in ("CULLING_S3_ACCESS_KEY", "CULLING_S3_SECRET_DIR", ".aws/credentials"):
        assert way in str(caught.value)


def test_find_keys__file_that_is_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("a-secret-by-itself\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "broken"))
    with pytest.raises(ConfigError, match="invalid AWS credentials file") as caught:
        find_keys(load_settings())
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [("http://store:9000", ("store:9000", False)), ("https://s3.example.org/", ("s3.example.org", True))],
)
def test_split_endpoint(endpoint: str, expected: tuple[str, bool]) -> None:
    assert split_endpoint(endpoint) == expected


@pytest.mark.parametrize("endpoint", ["store:9000", "ftp://store", "http://", "http://store/path", "http://store?x=1"])
def test_split_endpoint__refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="CULLING_S3_ENDPOINT: expected http://HOST:PORT"):
        split_endpoint(endpoint)


def test_split_endpoint__keys_in_the_url_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT", "http://user:hunter2@store:9000")
    with pytest.raises(ConfigError, match="a URL with keys in it") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_load_settings__names_of_other_programs_and_bad_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert (load_settings().endpoint, load_settings().region) == ("http://one:1", "eu-north-1")
    before = environment_mark()
    monkeypatch.setenv("CULLING_S3_ENDPOINT", "http://two:2")
    assert load_settings().endpoint == "http://two:2"
    assert environment_mark() != before
    monkeypatch.setenv("CULLING_S3_WORKERS", "a-secret-in-the-wrong-place")
    with pytest.raises(ConfigError, match=r"CULLING_S3_WORKERS: .*valid integer.* Correct or unset") as caught:
        load_settings()
    assert "a-secret" not in str(caught.value)


def test_settings__show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OURS, **AWS}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {find_keys(settings)!r}"
    for value in ("our-secret", "aws-secret", "aws-token"):
        assert value not in shown


def test_storage__local_needs_neither_minio_nor_pydantic_settings(tmp_path: Path) -> None:
    """Starting the command line must not pay for the object store's client."""
    code = (
        "import sys; from dataset_culling.storage import open_store; open_store('/x/y');"
        "sys.exit(any(name in sys.modules for name in ('minio', 'urllib3', 'pydantic_settings')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_storage__without_minio_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['minio'] = None\n"
        "from dataset_culling.errors import ConfigError\n"
        "from dataset_culling.storage import fetch\n"
        "from pathlib import Path\n"
        "try: fetch('s3://bucket/key', Path('x'))\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **OURS}
    )
    assert done.stdout == (
        "s3://bucket/key: expected the package 'minio', found no module minio. "
        "Install it: pip install 'dataset-culling[store]'.\n"
    )
