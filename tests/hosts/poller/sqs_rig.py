"""A poller on the in-process SQS, and what a test does while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from queue_runtime.hosts.poller import Poller, PollStats
from queue_runtime.settlement.lineage import ATTRIBUTE, read_facts
from queue_runtime.transports.base import refused
from tests.brokers.sqs.fixtures import sqs_client_for
from tests.hosts.poller.rig import run_beside, settings_for
from tests.sqs_rig import open_queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.definition import Handles
    from queue_runtime.transports.base import OutgoingMessage
    from tests.brokers.sqs import Event, Kind, SqsBroker

PATIENCE_SECONDS = 45.0

Meanwhile: TypeAlias = Callable[[Poller], Awaitable[None]]


class MovedClock:
    """The real clock, and what a test has moved it by."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def with_dead_letters(broker: SqsBroker, suffix: str = "") -> None:
    """Create `orders`, and `dead` for what cannot be handled."""
    broker.create_queue(f"dead{suffix}")
    redrive = {"deadLetterTargetArn": broker.arn(f"dead{suffix}"), "maxReceiveCount": 100}
    broker.create_queue(f"orders{suffix}", RedrivePolicy=redrive)


def polled(
    handler: Handles,
    meanwhile: Meanwhile,
    name: str = "orders",
    *,
    send: Sequence[OutgoingMessage] = (),
    lock: float = 60,
    clock: MovedClock | None = None,
    **values: Any,
) -> PollStats:
    """Send, poll until `meanwhile` is through, and close everything."""

    async def run() -> PollStats:
        queue = open_queue(name, visibility_seconds=lock, clock=clock or MovedClock())
        try:
            assert not refused(await queue.send(send))
            poller = Poller(handler, queue, settings=settings_for(handler, **values))
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                return await run_beside(poller, meanwhile)
        finally:
            await queue.aclose()

    return asyncio.run(run())


async def happened(
    broker: SqsBroker, kind: Kind, count: int = 1, *, queue: str = "orders", message_id: str = ""
) -> list[Event]:
    """Wait until the broker has done something so often."""

    def events() -> list[Event]:
        return broker.journal.events(kind, queue=queue, message_id=message_id)

    wait_until = broker.journal.wait_until
    await asyncio.to_thread(wait_until, lambda: len(events()) >= count, PATIENCE_SECONDS)
    return events()


def received(broker: SqsBroker, name: str) -> list[Mapping[str, Any]]:
    """Receive what another consumer would get now, in one request."""
    client = sqs_client_for(broker.endpoint_url)
    try:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return list(answer.get("Messages", ()))
    finally:
        client.close()


def facts_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what a dead-letter entry says of its failure."""
    return read_facts(raw["MessageAttributes"][ATTRIBUTE]["StringValue"])
