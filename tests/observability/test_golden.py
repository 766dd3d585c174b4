"""The span trees of every host and transport, kept as files:  UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.transports.base import OutgoingMessage
from tests.lambda_rig import Rig, fifo, records
from tests.observability.rig import OTHER_PRODUCER, PRODUCER, XRAY, poll, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER = Path(__file__).parents[1] / "golden"
HOST_SPAN = "00-aaaabbbbccccddddeeeeffff00001111-aaaabbbbccccdddd-01"


@queue_handler(tracing="otel", dead_letter="dlq", queue="golden")
def take(message: Message[str]) -> None:
    if message.body == "busy":
        raise Retry("busy", after=0)
    if message.body == "bad":
        raise DeadLetter("bad")
    if message.body == "broken":
        raise KeyError("k")


@queue_handler(tracing="otel", dead_letter="dlq", queue="golden", batch_order="accept_repeats")
def take_all(batch: Batch[str]) -> None:
    for message in batch:
        if message.body == "bad":
            batch.fail(message, DeadLetter("bad"))


def _records() -> list[dict[str, Any]]:
    first, second, third = records("good", "busy", "bad")
    first["messageAttributes"] = records("x", attributes={"traceparent": PRODUCER})[0][
        "messageAttributes"
    ]
    second["attributes"]["AWSTraceHeader"] = XRAY
    third["messageAttributes"] = records(
        "x", attributes={"Diagnostic-Id": OTHER_PRODUCER, "correlation_id": "c1"}
    )[0]["messageAttributes"]
    return [first, second, third]


def lambda_single() -> None:
    Rig(take)(*_records())


def lambda_batch() -> None:
    Rig(take_all)(*_records())


def lambda_fifo() -> None:
    Rig(take)(*fifo(("g", "good"), ("h", "good"), ("g", "broken")))


def _local(body: str, group: str | None = None) -> OutgoingMessage:
    return OutgoingMessage(body, {"traceparent": PRODUCER}, group)


def local_single() -> None:
    poll(take, _local("good"), queue="golden")


def local_dead_letter() -> None:
    poll(take, _local("bad"), queue="golden")


def local_batch() -> None:
    poll(take_all, _local("good"), _local("bad"), queue="golden")


def local_ordered() -> None:
    poll(take, _local("good", "g"), _local("good", "g"), queue="golden-ordered", options="&ordered")


class Settlement:
    """Takes every settlement."""

    def call(self, calls: Sequence[Any], /) -> list[Any]:
        return [None] * len(calls)


def _service_bus(number: int, body: str, parent: str | None) -> Any:
    return SimpleNamespace(
        get_body=lambda: body.encode(),
        message_id=f"m{number}",
        lock_token=f"00000000-0000-4000-8000-00000000000{number}",
        session_id=None,
        correlation_id="c1",
        delivery_count=2,
        sequence_number=number,
        application_properties={"Diagnostic-Id": parent} if parent else {},
        enqueued_time_utc=datetime(2026, 11, 25, tzinfo=UTC),
        metadata={},
    )


def _functions(handler: Any, native: Any) -> None:
    host = FunctionsHost(
        handler,
        Source("golden", "SERVICEBUS"),
        settings=load_settings(handler.definition.settings, environ={}),
        settlement=Settlement(),
    )
    invocation = SimpleNamespace(
        trace_context=SimpleNamespace(trace_parent=HOST_SPAN, trace_state="")
    )
    host.run(native, invocation)


def functions_single() -> None:
    _functions(take, _service_bus(1, "good", PRODUCER))


def functions_batch() -> None:
    messages = [_service_bus(1, "good", PRODUCER), _service_bus(2, "bad", OTHER_PRODUCER)]
    _functions(take_all, messages)


SCENES: list[Callable[[], None]] = [
    lambda_single,
    lambda_batch,
    lambda_fifo,
    local_single,
    local_dead_letter,
    local_batch,
    local_ordered,
    functions_single,
    functions_batch,
]


def _numbered(text: str) -> str:
    """Put a number where the local queue drew an id at random."""
    drawn = re.findall(r"\b(?<!-)[0-9a-f]{32}\b(?!-)", text)
    for number, identity in enumerate(dict.fromkeys(drawn), start=1):
        text = text.replace(identity, f"message-{number}")
    return text


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_spans_are_the_kept_ones(scene: Callable[[], None], spans: Any) -> None:
    scene()
    found = _numbered(json.dumps(tree(spans.get_finished_spans()), indent=2)) + "\n"
    path = FOLDER / f"{scene.__name__}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text()


def test_there_is_a_scene_for_every_kept_file() -> None:
    kept = {path.stem for path in FOLDER.glob("*.json")}
    assert kept == {scene.__name__ for scene in SCENES}
