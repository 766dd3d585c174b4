from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, Message, Retry, queue_handler
from queue_runtime.errors import MissingExtraError
from queue_runtime.observability.xray import xray_spans
from tests.lambda_rig import Rig, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRACE = "1-5759e988-bd862e3fe1be46a994272793"
HEADER = f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """An X-Ray daemon's port, and what has come to it."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))
    listening.settimeout(0)
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "x")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", HEADER)
    from aws_xray_sdk.core import xray_recorder
    from aws_xray_sdk.core.lambda_launcher import LambdaContext

    before = xray_recorder.context, xray_recorder.emitter
    xray_recorder.configure(
        context=LambdaContext(), daemon_address=f"127.0.0.1:{listening.getsockname()[1]}"
    )
    xray_recorder.streaming_threshold = 0

    def came() -> list[dict[str, Any]]:
        found = []
        while True:
            try:
                found.append(json.loads(listening.recv(65_536).split(b"\n", 1)[1]))
            except BlockingIOError:
                return found

    yield came
    xray_recorder.context, xray_recorder.emitter = before
    listening.close()


def _named(segments: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [each for each in segments if each["name"] == name]


@queue_handler(tracing="xray")
def take(message: Message[str]) -> None:
    from aws_xray_sdk.core import xray_recorder

    with xray_recorder.in_subsegment("booking"):
        if message.body == "broken":
            raise KeyError("SECRET")
        if message.body == "busy":
            raise Retry("busy")


@queue_handler(tracing="xray", concurrency=3)
async def take_in_loop(message: Message[str]) -> None:
    await asyncio.sleep(0)
    if message.body == "broken":
        raise KeyError("SECRET")


@queue_handler(tracing="xray")
def take_all(batch: Batch[str]) -> None: ...


def test_each_message_has_a_subsegment_and_the_handlers_own_are_below_it(daemon: Any) -> None:
    Rig(take)(*records("a", "busy"))
    came = daemon()
    processes = _named(came, "process orders")
    assert [each["annotations"]["message_id"] for each in processes] == ["m1", "m2"]
    assert {each["trace_id"] for each in processes} == {TRACE}
    assert {each["parent_id"] for each in processes} == {"53995c3f42cd8ad8"}
    assert {each["parent_id"] for each in _named(came, "booking")} == {
        each["id"] for each in processes
    }
    assert "fault" not in processes[1]


def test_what_a_producer_wrote_fits_into_an_annotation(daemon: Any) -> None:
    (record,) = records("a")
    identity = json.dumps({"id": "\ud800\n" + "x" * 250_000})
    record["messageAttributes"] = {"queue_runtime": {"stringValue": identity, "dataType": "String"}}
    Rig(take)(record)
    (process,) = _named(daemon(), "process orders")
    assert process["annotations"]["message_id"].startswith("\\ud800\\nxxx")
    assert len(process["annotations"]["message_id"]) == 1_000


def test_an_error_is_a_fault_by_its_type(daemon: Any) -> None:
    queue_handler(tracing="xray")(take.definition.function)
    Rig(take_in_loop)(*records("broken"))
    (one,) = _named(daemon(), "process orders")
    assert one["fault"] is True
    assert one["annotations"]["error_type"] == "KeyError"
    assert "SECRET" not in json.dumps(one)


def test_async_calls_that_overlap_are_all_siblings(daemon: Any) -> None:
    for _ in range(3):
        Rig(take_in_loop)(*records("a", "b", "c", "d"))
        processes = _named(daemon(), "process orders")
        assert sorted(each["annotations"]["message_id"] for each in processes) == [
            "m1",
            "m2",
            "m3",
            "m4",
        ]
        assert {each["parent_id"] for each in processes} == {"53995c3f42cd8ad8"}
        assert all(each["end_time"] >= each["start_time"] for each in processes)


def test_a_batch_handler_has_one(daemon: Any) -> None:
    Rig(take_all)(*records("a", "b"))
    (one,) = _named(daemon(), "process orders")
    assert one["annotations"]["messages"] == 2


def test_what_is_not_sampled_is_not_sent(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", HEADER.replace("Sampled=1", "Sampled=0"))
    for handler in (take, take_in_loop):
        Rig(handler)(*records("a"))
    assert daemon() == []


def test_outside_lambda_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMBDA_TASK_ROOT", raising=False)
    assert xray_spans(is_async=False) is None
    assert Rig(take_in_loop)(*records("a")).fates == ["ack"]


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "x")
    monkeypatch.setitem(sys.modules, "aws_xray_sdk.core", None)
    with pytest.raises(MissingExtraError, match=r"queue-runtime\[xray\]"):
        xray_spans(is_async=False)


def test_nothing_is_patched(daemon: Any) -> None:
    Rig(take)(*records("a"))
    from aws_xray_sdk.core import patcher

    assert not vars(patcher)["_PATCHED_MODULES"]
