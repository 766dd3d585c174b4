"""The table in infra/ is the one that the store works on."""

from __future__ import annotations

from typing import Any

import yaml
from moto import mock_aws

from queue_runtime.clouds.aws import dynamodb_client
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore
from tests.infra.template import ROOT, _Loader


def resources() -> Any:
    text = (ROOT / "infra" / "idempotency-table.yaml").read_text()
    return yaml.load(text, _Loader)["Resources"]


def test_the_store_works_on_the_table(monkeypatch: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    table = resources()["Claims"]["Properties"]
    with mock_aws():
        client = dynamodb_client("us-east-1")
        made = {name: table[name] for name in ("KeySchema", "AttributeDefinitions", "BillingMode")}
        client.create_table(TableName="claims", **made)
        store = DynamoDbStore("claims", client=client)
        assert store.claim([Claim("h@q#1")], "me", 10)[0].state == "fresh"
        (row,) = client.scan(TableName="claims")["Items"]
        store.close()
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert "N" in row["expires_at"]


def test_the_policy_allows_what_the_store_asks_for() -> None:
    (statement,) = resources()["ClaimsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    # A transaction needs the right to each of its single writes.
    assert set(statement["Action"]) == {
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
    }
