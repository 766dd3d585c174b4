from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from queue_runtime.clouds.secrets_aws import SecretsManager
from queue_runtime.config.references import SecretProblem

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield boto3.client("secretsmanager", "eu-west-1")


def test_a_secret_is_read_by_name_and_by_arn_also_of_another_region(manager: Any) -> None:
    manager.create_secret(Name="prod/orders", SecretString="a")
    other = boto3.client("secretsmanager", "us-east-2")
    arn = other.create_secret(Name="x", SecretBinary=b"b")["ARN"]
    store = SecretsManager()
    assert store.read("prod/orders", "").text == "a"
    assert store.read(arn, "").text == "b"
    assert store.read("x?region=us-east-2", "").text == "b"


def test_a_field_of_a_secret_is_read(manager: Any) -> None:
    manager.create_secret(Name="redis", SecretString=json.dumps({"password": "p", "port": 1}))
    assert SecretsManager().read("redis", "password").text == "p"


def test_the_current_version_is_read_once_a_rotation_has_moved_the_label(manager: Any) -> None:
    manager.create_secret(Name="key", SecretString="old")
    store = SecretsManager()
    pending = manager.put_secret_value(
        SecretId="key", SecretString="new", VersionStages=["AWSPENDING"]
    )
    assert store.read("key", "").text == "old"
    versions = manager.list_secret_version_ids(SecretId="key")["Versions"]
    old = next(v["VersionId"] for v in versions if "AWSCURRENT" in v["VersionStages"])
    manager.update_secret_version_stage(
        SecretId="key",
        VersionStage="AWSCURRENT",
        MoveToVersionId=pending["VersionId"],
        RemoveFromVersionId=old,
    )
    assert store.read("key", "").text == "new"


def test_a_secret_that_is_missing_or_deleted_is_told_with_the_fix(manager: Any) -> None:
    store = SecretsManager()
    with pytest.raises(SecretProblem, match="ResourceNotFoundException: there is no such secret"):
        store.read("gone", "")
    manager.create_secret(Name="old", SecretString="a")
    manager.delete_secret(SecretId="old")
    with pytest.raises(SecretProblem, match="InvalidRequestException: the secret is marked as del"):
        store.read("old", "")


def test_what_is_no_answer_of_the_service_is_told_too(manager: Any) -> None:
    with pytest.raises(SecretProblem, match="Error"):
        SecretsManager().read("x?region=no where", "")
