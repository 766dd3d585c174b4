"""One session that is ours: its messages, in order, and its lock."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.transports.service_bus import sdk_internals
from queue_runtime.transports.service_bus.errors import is_of_lock, lock_lost, translated
from queue_runtime.transports.service_bus.receiver import as_message, close_receiver
from queue_runtime.transports.service_bus.turns import make_interruptible, revoke_credit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.service_bus.receiver import LockClock
    from queue_runtime.transports.service_bus.settling import Settling

_RENEW_SECONDS: Final = 10.0


class SessionLink:
    """The receiver of one session, from its accept until the session is let go.

    No message is fetched while one is held: a retry has to come back before what follows it.
    """

    def __init__(self, queue: str, receiver: Any, settling: Settling, clock: LockClock) -> None:
        self._queue = queue
        self._receiver = receiver
        self._settling = settling
        self._clock = clock
        self._held: dict[int, Message[Any]] = {}
        self._quiet = asyncio.Event()
        self.over = False
        # The lot ends with the last message that is there, and a session that is let go at once.
        self._poll_seconds = make_interruptible(receiver, lambda: self.over)
        self.id = str(receiver.session.session_id)
        self.locked_until = clock.until(receiver.session.locked_until_utc)

    async def fetch(self, limit: int, seconds: float) -> list[Message[Any]]:
        """Receive what comes next in the session, waiting for it for so long.

        Raises:
            TransportError: the session is lost.
        """
        deadline = monotonic() + seconds
        while not self.over:
            try:
                raws = await self._receiver.receive_messages(
                    limit, max_wait_time=min(seconds, self._poll_seconds)
                )
            except Exception as error:
                self.end()
                raise translated(error, self._queue) from error
            if raws or monotonic() >= deadline:
                if len(raws) < limit:
                    await revoke_credit(self._receiver)
                return self._hold(raws)
        return []

    async def all_settled(self) -> None:
        """Wait until no message is held, or the session is lost."""
        while not self.over and not self._quiet.is_set():
            left = self.locked_until - monotonic()
            if left <= 0:
                self.end()
                return
            try:
                await asyncio.wait_for(self._quiet.wait(), left)
            except TimeoutError:
                continue  # it may have been renewed meanwhile

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Settle messages of this session; with the session, all of its locks are lost."""
        if self.over:
            return self._all_lost([step.message for step in steps])
        failures = await self._settling.settle(self._receiver, steps)
        if failures:
            self.end()
        failed = {id(failure.message) for failure in failures}
        for step in steps:
            if id(step.message) not in failed:
                self._held.pop(id(step.message), None)
        if not self._held:
            self._quiet.set()
        # The link is the lock, so what could not be settled over it comes back with the session.
        return self._all_lost([failure.message for failure in failures])

    async def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """Renew the session's lock, which is that of all its messages."""
        if self.over:
            return self._all_lost(messages)
        try:
            end = await self._receiver.session.renew_lock(timeout=_RENEW_SECONDS)
        except Exception as error:
            if is_of_lock(error) or self._is_dead():
                self.end()
                return self._all_lost(messages)
            why = translated(error, self._queue)
            return [SettleFailure(message, why) for message in messages]
        self.locked_until = self._clock.until(end)
        for message in (*self._held.values(), *messages):
            message.locked_until = self.locked_until
        return []

    @property
    def completed(self) -> bool:
        """Whether all that came of it is settled."""
        return not self._held

    def end(self) -> None:
        """Say that the session is not ours any more, or is not to be."""
        self.over = True
        self._quiet.set()

    async def close(self) -> None:
        """Let the session go; what was not settled is available again, and not counted."""
        self.end()
        await close_receiver(self._receiver)

    def _hold(self, raws: Sequence[Any]) -> list[Message[Any]]:
        messages = [
            as_message(raw, self._receiver, self, self._queue, self.locked_until) for raw in raws
        ]
        self._held = {id(message): message for message in messages}
        if messages:
            self._quiet.clear()
        return messages

    def _is_dead(self) -> bool:
        # The SDK closes a session's receiver for good when its connection breaks.
        return not sdk_internals.is_running(self._receiver)

    def _all_lost(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        return [SettleFailure(each, lock_lost(each.id, self._queue)) for each in messages]


async def settle_by_session(steps: Sequence[Step]) -> list[SettleFailure]:
    """Settle messages of several sessions side by side."""
    by_link: dict[SessionLink, list[Step]] = {}
    for step in steps:
        by_link.setdefault(step.message.receipt.source, []).append(step)
    lots = await asyncio.gather(*(link.settle(lot) for link, lot in by_link.items()))
    return [failure for lot in lots for failure in lot]


async def renew_by_session(messages: Sequence[Message[Any]]) -> list[SettleFailure]:
    """Renew the locks of several sessions side by side, each once."""
    by_link: dict[SessionLink, list[Message[Any]]] = {}
    for message in messages:
        by_link.setdefault(message.receipt.source, []).append(message)
    lots = await asyncio.gather(*(link.renew(lot) for link, lot in by_link.items()))
    return [failure for lot in lots for failure in lot]
