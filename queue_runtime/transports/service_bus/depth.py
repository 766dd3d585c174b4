"""How much is in a queue or subscription: as the service counts it, or else by looking."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.clouds.azure import service_bus_management
from queue_runtime.config import redact
from queue_runtime.observability.events import events
from queue_runtime.transports.base import Depth
from queue_runtime.transports.service_bus.errors import translated
from queue_runtime.transports.threads import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Sequence

    from queue_runtime.clouds.azure import ServiceBusConnection
    from queue_runtime.transports.service_bus.address import ServiceBusAddress

    Peek: TypeAlias = Callable[[int, int], Awaitable[list[Any]]]

# Whoever asks for the depth waits for it; the health port for four seconds in all.
ANSWER_SECONDS: Final = 2.5
# A right that was granted shows after so long; a wrong one costs a request as often.
PAUSE_SECONDS: Final = 120.0
# Messages are sent whole to be looked at, sessions by their names.
MOST_MESSAGES: Final = 100
MOST_SESSIONS: Final = 1000
_REFUSALS: Final = (401, 403)
_LONGEST_TEXT: Final = 200
_ACTIVE, _SCHEDULED = 0, 2


class Counters:
    """The service's own counts of one queue or subscription, where we may ask for them.

    Args:
        address: which queue; of dead letters, it is these that are counted.
        connection: how to reach its namespace.
    """

    def __init__(self, address: ServiceBusAddress, connection: ServiceBusConnection) -> None:
        self._address = address
        self._connection = connection
        self._client: Any = None
        self._turn = asyncio.Lock()
        self._has_answered = False
        self._asks_again_at = 0.0

    async def read(self) -> Depth | None:
        """Ask for the counts; None where they cannot be had, and for a while after that.

        Raises:
            TransportError: they cannot be had now, but could be before.
        """
        async with self._turn:
            if monotonic() < self._asks_again_at:
                return None
            try:
                depth = await self._answer()
            except Exception as error:
                self._do_without(error)
                return None
            self._has_answered = True
            return depth

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _answer(self) -> Depth:
        # A daemon: neither a caller nor the end of the process waits for a peer that is silent.
        job = Job(self._ask)
        Thread(target=job.run, name="service-bus-counters", daemon=True).start()
        return await asyncio.wait_for(job.answer, ANSWER_SECONDS)

    def _do_without(self, error: Exception) -> None:
        # What can be seen is less: whoever scales by it must not take that for a change.
        if self._has_answered and not _is_refusal(error):
            raise translated(error, self._address.queue) from error
        self._asks_again_at = monotonic() + PAUSE_SECONDS
        if _is_refusal(error):
            self.close()  # the next client is made with the key as it is then
        events.say_once(self._address.queue, "depth", _why_not(error))

    def _ask(self) -> Depth:
        if self._client is None:
            self._client = service_bus_management(self._connection, seconds=ANSWER_SECONDS)
        entity, subscription = self._address.entity, self._address.subscription
        if subscription is None:
            found = self._client.get_queue_runtime_properties(entity)
        else:
            found = self._client.get_subscription_runtime_properties(entity, subscription)
        dead_letters = found.dead_letter_message_count
        if self._address.dead_letters:
            return Depth(dead_letters, 0, 0)
        # What is scheduled for a subscription is still with its topic.
        scheduled = getattr(found, "scheduled_message_count", 0)
        return Depth(found.active_message_count, 0, scheduled, dead_letters)


async def depth_of_messages(counters: Counters, peek: Peek) -> Depth:
    """Count messages, and look for the oldest one.

    Args:
        counters: the service's counts.
        peek: looks at some messages from a sequence number on, whatever their state.
    """
    seen = await peek(1, 1)
    counted = await counters.read()
    while seen and len(seen) < MOST_MESSAGES and _is_more_needed(counted, seen):
        more = await peek(MOST_MESSAGES - len(seen), seen[-1].sequence_number + 1)
        if not more:
            break
        seen += more
    depth = counted or Depth(len(_active(seen)), 0, len(_in_state(seen, _SCHEDULED)))
    return depth._replace(oldest_seconds=_age(_active(seen)))


async def depth_of_sessions(
    counters: Counters, list_sessions: Callable[[], AsyncIterable[str]], queue: str
) -> Depth:
    """Count messages, or at least sessions: their messages cannot be looked at from outside."""
    counted = await counters.read()
    if counted is not None:
        return counted
    count = 0
    try:
        async for _ in list_sessions():
            count += 1
            if count == MOST_SESSIONS:
                break
    except Exception as error:
        raise translated(error, queue) from error
    return Depth(count, 0, 0)


def _is_refusal(error: Exception) -> bool:
    from azure.core.exceptions import ClientAuthenticationError

    status = getattr(error, "status_code", None)
    return isinstance(error, ClientAuthenticationError) or status in _REFUSALS


def _why_not(error: Exception) -> str:
    text = redact(str(error)).partition("\n")[0][:_LONGEST_TEXT]
    what = f"{type(error).__name__}: {text}" if text else "no answer"
    return (
        f"the management API does not tell how much is in it ({what}): {_fix(error)}. Until then "
        f"at most {MOST_MESSAGES} messages, or {MOST_SESSIONS} sessions, are counted, and no dead "
        "letters"
    )


def _fix(error: Exception) -> str:
    if _is_refusal(error):
        return (
            "give the key the claim Manage, in a policy of the namespace, or the identity the role "
            "Azure Service Bus Data Owner"
        )
    return "let this process reach the namespace over HTTPS, at port 443"


def _is_more_needed(counted: Depth | None, seen: Sequence[Any]) -> bool:
    # Usually the first is the oldest, but those scheduled or deferred have their numbers too.
    return counted is None or (counted.visible > 0 and not _active(seen))


def _active(seen: Sequence[Any]) -> list[Any]:
    return _in_state(seen, _ACTIVE)


def _in_state(seen: Sequence[Any], state: int) -> list[Any]:
    return [raw for raw in seen if raw.state.value == state]


def _age(active: Sequence[Any]) -> float | None:
    since = active[0].enqueued_time_utc if active else None
    return None if since is None else max(0.0, (datetime.now(UTC) - since).total_seconds())
