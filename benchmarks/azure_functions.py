"""What the Functions host's side costs: a batch until it is settled, and its settlement."""

from __future__ import annotations

import logging
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.paired import Figure, paired
from queue_runtime import Batch, Message, queue_handler
from queue_runtime.clouds import azure_settlement as settlement
from queue_runtime.hosts.azure_functions import FunctionsHost, Source
from queue_runtime.hosts.azure_functions.whole_binding import decode
from tests.hosts.azure_functions.encoding import Sent, whole
from tests.hosts.azure_functions.settlement_service import SettlementService

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queue_runtime.errors import TransportError

_MESSAGES = 100
_SETTLEMENTS = 200
_BODY = b'{"id": "order-1", "amount": 12.5, "lines": [1, 2, 3]}'
_PROPERTIES = {"tenant": "one", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@queue_handler
def no_op(batch: Batch[bytes]) -> None:
    """Read every body."""
    for message in batch:
        message.body  # noqa: B018 - reading is what is timed


@queue_handler
def typed(batch: Batch[dict[str, Any]]) -> None:
    """Do nothing with bodies that are decoded."""


@queue_handler
def identified(batch: Batch[bytes]) -> None:
    """Read what only the whole message has."""
    for message in batch:
        _identity(message)


def _identity(message: Message[bytes]) -> tuple[str, int]:
    return message.id, message.delivery_count


class _Data:
    """What the worker hands to a binding's converter."""

    type = "collection_model_binding_data"

    def __init__(self, count: int) -> None:
        sent = [
            Sent(_BODY, message_id=f"m-{n}", properties=_PROPERTIES, content_type="text/json")
            for n in range(count)
        ]
        self.value = whole(sent)[0].collection_model_binding_data


class _Stopwatch:
    """Stands where the settlement begins, and notes when that is."""

    reached = 0.0

    def call(self, calls: Sequence[settlement.Call]) -> list[TransportError | None]:
        self.reached = perf_counter()
        return [None] * len(calls)


def figures() -> Iterator[Figure]:
    """Measure a batch of 100, then 200 settlements over gRPC on loopback."""
    logging.getLogger("queue_runtime").setLevel(logging.WARNING)
    yield _batch("a batch of 100, Batch[bytes], body read", no_op, limit=10.0)
    yield _batch("a batch of 100, Batch[dict]", typed, limit=10.0)
    yield _batch("a batch of 100, id and count of each read (SDK)", identified, limit=None)
    yield _settlements()


def _batch(name: str, handler: Any, *, limit: float | None) -> Figure:
    watch = _Stopwatch()
    host = FunctionsHost(handler, Source("orders", "SERVICEBUS"), settlement=watch)
    data = _Data(_MESSAGES)

    def run() -> float:
        started = perf_counter()
        host.run(decode(data))
        return (watch.reached - started) / _MESSAGES * 1e6

    run()
    each = median(run() for _ in range(300))
    return Figure(name, each, None, "us", each, limit)


def _settlements() -> Figure:
    service = SettlementService()
    tokens = [str(n) for n in range(_SETTLEMENTS)]
    service.begin(tokens)
    client = settlement.SettlementClient(lambda: f"127.0.0.1:{service.port}")
    calls = [settlement.complete(token) for token in tokens]
    channel = grpc.insecure_channel(f"127.0.0.1:{service.port}")
    plain: Any = channel.unary_unary("/Settlement/Complete")

    def one_by_one() -> None:
        for call in calls:
            plain(call.request, timeout=10.0)

    try:
        return paired(
            "200 settlements together, against one after the other",
            lambda: client.call(calls),
            one_by_one,
            per_call=_SETTLEMENTS,
            limit=1.5,
            seconds=2.0,
        )
    finally:
        client.close()
        channel.close()
        service.stop()
