"""When it is forgotten too early that a message is done, and where the numbers come from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from queue_runtime.checks.idempotency import retention_findings
from queue_runtime.checks.sqs import QueueTimes, read_queue
from queue_runtime.cli import main
from queue_runtime.config import load_settings
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

@queue_handler(max_deliveries=6)
def patient(order: dict) -> None: ...
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
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


def times(**clients: Any) -> QueueTimes:
    return read_queue("sqs://orders", load_settings(environ={}), **clients)[0]


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
    assert times() == (2 * DAY, 14 * DAY)


def test_a_queue_without_a_dead_letter_queue(sqs: Any) -> None:
    make_queue(sqs, 2 * DAY)
    assert times() == (2 * DAY, None)


def test_a_queue_that_is_not_there(sqs: Any) -> None:
    with pytest.raises(QueueNotFoundError, match="orders"):
        times()


def test_a_refusal_is_told_by_its_code() -> None:
    from botocore.exceptions import ClientError

    class Refusing:
        def get_queue_url(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueUrl")

    with pytest.raises(TransportError, match="AccessDenied") as caught:
        times(clients=lambda _region: Refusing())
    assert isinstance(caught.value, AccessDeniedError)


def test_the_command_asks_sqs(sqs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_queue(sqs, 2 * DAY, dead_letter=14 * DAY)
    assert main(["check", "checked:once", "--table"]) == 1
    redrive, *lines = capsys.readouterr().out.splitlines()
    assert "set maxReceiveCount to 7 or more, for max_deliveries = 4 (default)" in redrive
    assert redrive.endswith("[redrive-count]")
    assert len(lines) == 2
    assert lines[0].startswith(
        "warning: checked:once: that a message is done is kept for 1 day (decorator argument "
        "idempotency_retention_seconds), but the queue keeps messages for 2 days"
    )
    assert lines[0].endswith("[idempotency-retention]")


def test_idempotency_that_is_off_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_IDEMPOTENCY", "off")
    given = ["--queue-retention", "60", "--dlq-retention", "60", "--table"]
    assert main(["check", "checked:without_store", *given]) == 1
    found = capsys.readouterr().out.splitlines()[0]
    assert "idempotency is off (environment variable QUEUE_IDEMPOTENCY)" in found
    assert found.endswith("[idempotency-off]")
    assert main(["check", "checked:plain", *given]) == 0


def test_the_command_takes_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--queue-retention", "86400", "--dlq-retention", "86400"]
    assert main(["check", "checked:once", *given, "--table"]) == 0
    assert capsys.readouterr().out == (
        "checked:once: nothing found\n"
        "checked:once: the queue was not asked, since both retentions are given\n"
    )
    given[-1] = "86401"
    assert main(["check", "checked:once", "--json", *given]) == 1
    found, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["rule"] == "idempotency-retention"
    assert end["findings"] == 1


def test_the_command_says_what_would_fail_at_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "checked:without_store"]) == 2
    assert "QUEUE_IDEMPOTENCY_STORE" in capsys.readouterr().err


def test_what_was_not_asked_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "checked:plain", "--table"]) == 0
    assert "no queue was asked, since none is named: give --queue URL" in capsys.readouterr().out
    assert main(["check", "checked:plain"]) == 0
    end = json.loads(capsys.readouterr().out)
    assert (end["target"], end["findings"]) == ("checked:plain", 0)
    assert end["not_asked"].startswith("no queue was asked")


@pytest.mark.parametrize(
    ("queue", "sentence"),
    [
        ("sqs://not-there", "there is no SQS queue 'not-there'"),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/not-there", "no SQS queue 'not-there'"),
        ("local://not-there", "there is no local queue not-there"),
        ("foo://orders", "no queue URL"),
        ("orders", "does not say where it is"),
    ],
)
def test_a_queue_that_is_not_there_is_a_mistake_and_no_all_clear(
    queue: str, sentence: str, sqs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "checked:plain", "--queue", queue]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.out == ""


def test_a_redrive_policy_that_moves_messages_too_early_is_found_for_every_handler(
    sqs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_queue(sqs, 2 * DAY, dead_letter=14 * DAY)
    assert main(["check", "checked:patient", "--queue", "sqs://orders"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (found["rule"], found["level"]) == ("redrive-count", "warning")
    assert "for max_deliveries = 6 (decorator argument max_deliveries)" in found["text"]


def test_a_queue_without_an_sdk_is_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("boto3", "botocore", "botocore.session"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["check", "checked:plain", "--queue", "sqs://orders"]) == 2
    assert "queue-runtime[aws]" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-5", "nan", "0", "inf", "many"])
def test_a_retention_that_is_none_is_refused(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["check", "checked:plain", "--queue-retention", seconds])
    assert left.value.code == 2
    assert "no number of seconds above 0" in capsys.readouterr().err
