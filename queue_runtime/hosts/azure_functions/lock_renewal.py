"""Renews the locks of a batch while its handler runs; the host renews single messages only."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.clouds import azure_settlement as settlement
from queue_runtime.clouds.azure_settlement import SettlementMissingError
from queue_runtime.errors import LockLostError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.log_lines import HeldLines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.clouds.azure_settlement import Settles
    from queue_runtime.message import Message

# Where a message does not say how long its lock lasts; the shortest that a queue can have is 5 s.
UNKNOWN_LOCK_SECONDS: Final = 10.0
_SHORTEST_INTERVAL: Final = 0.5
# The part of a lock that may pass before it is renewed, or before a handler is called late.
_RENEW_AT: Final = 0.5


def lock_seconds_left(message: Message[Any]) -> float | None:
    """Give the time until a message's lock ends, or None where the host does not say it."""
    decoded = getattr(message.native, "message", message.native)
    until = getattr(decoded, "locked_until_utc", None)
    if not isinstance(until, datetime):
        return None
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()


class LockRenewal:
    """Renews each message's lock, or the session's, until it is stopped.

    From a thread of its own, because a handler may block whatever thread or loop it runs on.
    """

    def __init__(
        self, messages: Sequence[Message[Any]], service: Settles, *, session: bool
    ) -> None:
        self._held = list(messages[:1] if session else messages)
        self._service = service
        self._session = session
        left = lock_seconds_left(messages[0])
        lasts = UNKNOWN_LOCK_SECONDS if left is None else left
        self._interval = max(lasts * _RENEW_AT, _SHORTEST_INTERVAL)
        self._done = Event()
        self._lines = HeldLines()
        self._thread = Thread(
            target=self._lines.run, args=(self._run,), name="renew-locks", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for a renewal that is under way, which must not follow a settlement."""
        self._done.set()
        self._thread.join()
        self._lines.write()

    def _run(self) -> None:
        while self._held and not self._done.wait(self._interval):
            self._renew(self._held[0].queue)

    def _renew(self, queue: str) -> None:
        if self._session:
            calls = [settlement.renew_session(self._held[0].group_id or "")]
        else:
            calls = [settlement.renew_message(message.receipt) for message in self._held]
        errors = self._service.call(calls)
        missing = next((e for e in errors if isinstance(e, SettlementMissingError)), None)
        if missing is not None:
            events.say_once(queue, "renew_locks", f"locks cannot be renewed: {missing}")
            self._held = []
            return
        lost = [isinstance(error, LockLostError) for error in errors]
        metrics.LOCKS_LOST.add(sum(lost), queue)
        self._held = [m for m, gone in zip(self._held, lost, strict=True) if not gone]
