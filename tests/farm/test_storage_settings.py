"""Where stores are comes from the environment and one file, in a fixed order; secrets are in no file of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm import storage
from farm.errors import CredentialsError, FarmError, UsageError
from farm.storage.settings import StoreSettings, settings_of
from farm.storage.urls import split_key
from tests.stores import raised

_PREFIXES = ("FARM_S3_", "FARM_COS_", "AWS_", "TENCENTCLOUD_", "COS_")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file's place, and nothing in the environment."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.delenv("FARM_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/farm/config.toml"
    path.parent.mkdir(parents=True)
    return path


def said(config: Path, text: str, kind: type[FarmError] = UsageError) -> str:
    config.write_text(text)
    return str(raised(kind, lambda: settings_of("s3")))


def test_without_anything_the_aws_tools_decide() -> None:
    assert settings_of("s3") == StoreSettings(
        title="S3", endpoint_url=None, region=None, addressing="auto", profile=None, keys=None
    )


def test_the_file_is_overruled_by_standard_variables_and_those_by_ours(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[s3]\nendpoint_url = "http://file"\nregion = "file"\naddressing = "path"\nprofile = "file"\n')
    found = settings_of("s3")
    assert (found.endpoint_url, found.region, found.addressing, found.profile) == (
        "http://file",
        "file",
        "path",
        "file",
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://aws")
    monkeypatch.setenv("AWS_REGION", "aws")
    assert (settings_of("s3").endpoint_url, settings_of("s3").region) == ("http://aws", "aws")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://aws-s3")
    assert settings_of("s3").endpoint_url == "http://aws-s3"
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://farm")
    monkeypatch.setenv("FARM_S3_REGION", "farm")
    monkeypatch.setenv("FARM_S3_ADDRESSING", "virtual")
    monkeypatch.setenv("FARM_S3_PROFILE", "farm")
    found = settings_of("s3")
    assert (found.endpoint_url, found.region, found.addressing, found.profile) == (
        "http://farm",
        "farm",
        "virtual",
        "farm",
    )


def test_keys_in_the_environment_go_before_the_files_profile_and_not_before_ours(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[s3]\nprofile = "file"\n[cos]\nregion = "ap-guangzhou"\nprofile = "file"\n')
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ID")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "ID")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "SECRET")
    assert settings_of("s3").profile is None
    assert settings_of("cos").profile is None
    assert settings_of("cos").keys is not None
    monkeypatch.setenv("FARM_S3_PROFILE", "ours")
    monkeypatch.setenv("FARM_COS_PROFILE", "ours")
    assert settings_of("s3").profile == "ours"
    assert (settings_of("cos").profile, settings_of("cos").keys) == ("ours", None)


def test_another_file_may_be_named_and_must_be_there(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[s3]\nregion = "default"\n')
    monkeypatch.setenv("FARM_CONFIG", str(tmp_path / "other.toml"))
    assert "other.toml" in str(raised(UsageError, lambda: settings_of("s3")))
    (tmp_path / "other.toml").write_text('[s3]\nregion = "other"\n')
    assert settings_of("s3").region == "other"


def test_a_file_that_was_changed_is_read_again(config: Path) -> None:
    config.write_text('[s3]\nregion = "one"\n')
    assert settings_of("s3").region == "one"
    config.write_text('[s3]\nregion = "another"\n')
    assert settings_of("s3").region == "another"


@pytest.mark.parametrize(
    "key", ["secret_key", "aws_secret_access_key", "access_key_id", "token", "password", "SecretId"]
)
def test_secrets_in_the_file_are_refused_and_not_repeated(config: Path, key: str) -> None:
    text = said(config, f'[s3]\n{key} = "CANARY"\n')
    assert key in text
    assert "AWS_ACCESS_KEY_ID" in text
    assert "CANARY" not in text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[s3]\nendpoint = "http://x"\n', "endpoint"),
        ('[S3]\nregion = "x"\n', "S3"),
        ("[s3]\nregion = 5\n", "region"),
        ('[s3]\nregion = ""\n', "region"),
        ('s3 = "CANARY"\n', "s3"),
        ('[s3]\nregion = "CANARY\n', "line 2"),
        ('[s3]\naddressing = "host"\n', "addressing"),
        ('[s3]\nendpoint_url = "minio:9000"\n', "http://"),
        ('[s3]\nendpoint_url = "http://me:CANARY@minio:9000"\n', "credentials"),
        ('[s3]\nendpoint_url = "http://minio:9000/?key=CANARY"\n', "http://"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: Path, text: str, named: str) -> None:
    found = said(config, text)
    assert named in found
    assert "CANARY" not in found


def test_a_file_that_is_not_text_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff\xfe")
    assert "UTF-8" in str(raised(UsageError, lambda: settings_of("s3")))


def test_cos_is_found_by_its_region(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "FARM_COS_REGION" in str(raised(UsageError, lambda: settings_of("cos")))
    for name in ("COS_REGION", "TENCENTCLOUD_REGION", "FARM_COS_REGION"):
        monkeypatch.setenv(name, name.lower().replace("_", "-"))
        assert settings_of("cos").endpoint_url == f"https://cos.{name.lower().replace('_', '-')}.myqcloud.com"
    monkeypatch.setenv("FARM_COS_ENDPOINT_URL", "http://elsewhere")
    assert settings_of("cos").endpoint_url == "http://elsewhere"
    assert settings_of("cos").addressing == "virtual"
    config.write_text('[cos]\naddressing = "path"\n')
    assert "host name only" in str(raised(UsageError, lambda: settings_of("cos")))


def test_cos_takes_tencents_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_COS_REGION", "ap-guangzhou")
    monkeypatch.setenv("COS_SECRET_ID", "COSID")
    assert "COS_SECRET_KEY" in str(raised(CredentialsError, lambda: settings_of("cos")))
    monkeypatch.setenv("COS_SECRET_KEY", "CANARY")
    keys = settings_of("cos").keys
    assert keys is not None
    assert (keys.id, keys.secret, keys.token) == ("COSID", "CANARY", None)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "ID")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "CANARY2")
    monkeypatch.setenv("TENCENTCLOUD_SESSION_TOKEN", "TOKEN")
    keys = settings_of("cos").keys
    assert keys is not None
    assert (keys.id, keys.secret, keys.token) == ("ID", "CANARY2", "TOKEN")
    assert "CANARY" not in repr(settings_of("cos"))
    assert "ID" not in repr(keys)


def test_a_cos_bucket_ends_in_its_appid() -> None:
    assert split_key("cos://photos-1250000000/a/b.png") == ("cos", "photos-1250000000", "a/b.png")
    for bucket in ("photos", "photos-", "photos-12a", "-1250000000", "Photos-1250000000", "photos.x-125"):
        error = raised(UsageError, lambda bucket=bucket: storage.stat(f"cos://{bucket}/a"))
        assert "NAME-APPID" in str(error)
        assert bucket in str(error)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    assert "CANARY" not in str(raised(UsageError, lambda: storage.stat("s3://KEY:CANARY@bucket/a")))
