"""A poller on the in-process Service Bus, and what a test does while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.hosts.poller import Poller, PollStats
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.hosts.poller.rig import run_beside, settings_for

if TYPE_CHECKING:
    from queue_runtime.definition import Handles
    from tests.brokers.service_bus import ServiceBusBroker
    from tests.brokers.service_bus.journal import Event, Kind

PATIENCE_SECONDS = 45.0

Meanwhile: TypeAlias = Callable[[Poller], Awaitable[None]]


def opened(
    broker: ServiceBusBroker, path: str, connection_string: str | None = None, **options: Any
) -> ServiceBusTransport:
    """Open a transport on the broker, as an operator's URL would."""
    secret = Secret(connection_string or broker.connection_string)
    address = read_address(f"servicebus://broker/{path}")
    return ServiceBusTransport(address, ServiceBusConnection(secret), **options)


def texts(*bodies: str, group: str | None = None) -> list[OutgoingMessage]:
    """Make messages whose ids are their bodies."""
    return [OutgoingMessage(body=body, group_id=group, deduplication_id=body) for body in bodies]


def polled(
    transport: ServiceBusTransport,
    handler: Handles,
    meanwhile: Meanwhile,
    *,
    send: list[OutgoingMessage] | None = None,
    **values: Any,
) -> PollStats:
    """Send, poll until `meanwhile` is through, and close everything."""

    async def run() -> PollStats:
        try:
            assert not refused(await transport.send(send or []))
            poller = Poller(handler, transport, settings=settings_for(handler, **values))
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                return await run_beside(poller, meanwhile)
        finally:
            await transport.aclose()

    return asyncio.run(run())


async def happened(
    broker: ServiceBusBroker, kind: Kind, count: int = 1, **facts: Any
) -> list[Event]:
    """Wait until the broker has done something so often."""
    wait_for = broker.journal.wait_for
    return await asyncio.to_thread(wait_for, kind, count=count, timeout=PATIENCE_SECONDS, **facts)
