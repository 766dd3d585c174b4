"""When it is forgotten too early that a message is done, and where the numbers come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from queue_runtime.checks.idempotency import retention_findings
from queue_runtime.checks.sqs import read_times
from queue_runtime.cli import main
from queue_runtime.errors import AccessDeniedError, QueueNotFoundError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400
HANDLERS = """
from queue_runtime import Idempotency, queue_handler
from queue_runtime.idempotency.stores.memory import MemoryStore

@queue_handler(queue="sqs://orders", idempotency=Idempotency(store=MemoryStore(), retention=86_400))
def once(order: dict) -> None: ...

@queue_handler(queue="sqs://orders", idempotency_key="id")
def without_store(order: dict) -> None: ...

@queue_handler
def plain(order: dict) -> None: ...
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    (tmp_path / "checked.py").write_text(HANDLERS)
    yield
    sys.modules.pop("checked", None)


@pytest.fixture
def sqs() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("sqs", region_name="us-east-1")
        yield client
        client.close()


def make_queue(client: Any, retention: int, dead_letter: int | None = None) -> None:
    attributes = {"MessageRetentionPeriod": str(retention)}
    if dead_letter is not None:
        url = client.create_queue(
            QueueName="orders-dlq", Attributes={"MessageRetentionPeriod": str(dead_letter)}
        )["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 5}
        attributes["RedrivePolicy"] = json.dumps(policy)
    client.create_queue(QueueName="orders", Attributes=attributes)


def test_a_retention_as_long_as_the_queues_is_fine() -> None:
    found = retention_findings(4 * DAY, queue_seconds=4 * DAY, dead_letter_seconds=4 * DAY)
    assert list(found) == []
    assert list(retention_findings(60)) == []


def test_each_queue_that_keeps_longer_is_named_with_the_fix() -> None:
    found = list(retention_findings(3600, queue_seconds=4 * DAY, dead_letter_seconds=14 * DAY))
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert "3600 s, but the queue keeps messages for 4 days" in found[0].text
    assert "the dead-letter queue keeps messages for 14 days" in found[1].text
    assert "QUEUE_IDEMPOTENCY_RETENTION_SECONDS to 1209600 or more" in found[1].text


def test_times_are_read_from_the_queue_and_its_redrive_policy(sqs: Any) -> None:
    make_queue(sqs, 2 * DAY, dead_letter=14 * DAY)
    assert read_times("orders", "us-east-1") == (2 * DAY, 14 * DAY)


def test_a_queue_without_a_dead_letter_queue(sqs: Any) -> None:
    make_queue(sqs, 2 * DAY)
    assert read_times("orders", "us-east-1") == (2 * DAY, None)


def test_a_queue_that_is_not_there(sqs: Any) -> None:
    with pytest.raises(QueueNotFoundError, match="orders"):
        read_times("orders", "us-east-1")


def test_a_refusal_is_told_by_its_code() -> None:
    from botocore.exceptions import ClientError

    class Refusing:
        def get_queue_url(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueUrl")

    with pytest.raises(TransportError, match="AccessDenied") as caught:
        read_times("orders", "us-east-1", clients=lambda _region: Refusing())
    assert isinstance(caught.value, AccessDeniedError)


def test_the_command_asks_sqs(sqs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_queue(sqs, 2 * DAY, dead_letter=14 * DAY)
    assert main(["check", "checked:once"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: checked:once: that a message is done is kept for 1 days")
    assert lines[0].endswith("[idempotency-retention]")


def test_the_command_takes_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--queue-retention", "86400", "--dlq-retention", "86400"]
    assert main(["check", "checked:once", *given]) == 0
    assert capsys.readouterr().out == "checked:once: nothing found\n"
    given[-1] = "86401"
    assert main(["check", "checked:once", "--json", *given]) == 1
    assert json.loads(capsys.readouterr().out)["rule"] == "idempotency-retention"


def test_the_command_says_what_would_fail_at_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "checked:without_store"]) == 2
    assert "QUEUE_IDEMPOTENCY_STORE" in capsys.readouterr().err


def test_other_handlers_have_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "checked:plain"]) == 0
    assert capsys.readouterr().out == "checked:plain: nothing found\n"
