"""Takes up as many sessions side by side as there are handlers for, while somebody waits."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import TransportError
from queue_runtime.observability.events import events
from queue_runtime.transports.service_bus.receiver import OPEN_SECONDS, open_receiver
from queue_runtime.transports.service_bus.session import (
    SessionLink,
    renew_by_session,
    settle_by_session,
)
from queue_runtime.transports.threads import result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.service_bus.receiver import LockClock
    from queue_runtime.transports.service_bus.settling import Settling

# How long the service is asked to look for a session with messages.
ACCEPT_SECONDS: Final = 20.0
# To connect alone takes the SDK half a second: a shorter receive would never get a session.
SHORTEST_WAIT: Final = 1.5
# How long a session is kept that has nothing more, and sessions that nobody receives from.
IDLE_SECONDS: Final = 0.25
LINGER_SECONDS: Final = 1.0


class _Waiter:
    """A receive that waits for the messages of any session."""

    __slots__ = ("answer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.answer: asyncio.Future[list[Message[Any]]] = asyncio.get_running_loop().create_future()


class Sessions:
    """All sessions that are held, on the transport's loop.

    Args:
        queue: the queue's name.
        make_receiver: makes one of the SDK's receivers of the next session that is available.
        settling: how outcomes are carried out.
        clock: translates lock ends.
        most: how many sessions are held at the most.
        share: how many messages of one session are fetched at the most.
    """

    def __init__(
        self,
        queue: str,
        make_receiver: Callable[[], Any],
        settling: Settling,
        clock: LockClock,
        *,
        most: int,
        share: int,
    ) -> None:
        self._queue = queue
        self._make_receiver = make_receiver
        self._settling = settling
        self._clock = clock
        self._most = most
        self._share = share
        self._waiters: deque[_Waiter] = deque()
        self._wanted = asyncio.Event()
        self._left_at = 0.0
        self._accepting: set[asyncio.Task[None]] = set()
        self._active: set[SessionLink] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def receive(self, limit: int, wait: float) -> list[Message[Any]]:
        """See `Transport.receive`; gives messages of one session, while others are fetched."""
        waiter = _Waiter(limit)
        self._waiters.append(waiter)
        self._wanted.set()
        self._take_up()
        try:
            await asyncio.wait([waiter.answer], timeout=max(wait, SHORTEST_WAIT))
        except asyncio.CancelledError:
            if messages := result_of(waiter.answer):
                return messages
            raise
        finally:
            self._leave(waiter)
        return waiter.answer.result() if waiter.answer.done() else []

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """See `Transport.settle`."""
        return await settle_by_session(steps)

    async def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """See `Transport.renew`."""
        return await renew_by_session(messages)

    async def close(self) -> None:
        """Let all sessions go."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_result([])
        for link in self._active:
            link.end()
        self._dismiss()
        self._wanted.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- who waits -------------------------------------------------------------------------------

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if not self._waiters:
            self._wanted.clear()
            self._left_at = monotonic()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._dismiss_unwanted)

    def _dismiss_unwanted(self) -> None:
        if not self._waiters and monotonic() - self._left_at >= LINGER_SECONDS * 0.9:
            self._dismiss()

    def _dismiss(self) -> None:
        for task in self._accepting:
            task.cancel()

    async def _is_wanted(self) -> bool:
        """Wait a little for somebody who wants messages."""
        try:
            await asyncio.wait_for(self._wanted.wait(), LINGER_SECONDS)
        except TimeoutError:
            return False
        return not self._closed

    def _hand(self, messages: list[Message[Any]]) -> bool:
        for waiter in self._waiters:
            if not waiter.answer.done() and waiter.limit >= len(messages):
                waiter.answer.set_result(messages)
                self._waiters.remove(waiter)
                if not self._waiters:
                    self._wanted.clear()
                return True
        return False

    def _tell(self, error: TransportError) -> None:
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)

    # --- sessions --------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Try for one session at first, and for as many more as there are."""
        while self._waiters and not self._closed:
            free = self._most - len(self._active)
            if len(self._accepting) >= min(free, max(1, len(self._active))):
                return
            task = asyncio.ensure_future(self._one_session())
            self._accepting.add(task)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._accepting.discard(task)
        if not task.cancelled():
            task.result()

    async def _one_session(self) -> None:
        try:
            receiver = await self._accept()
        except TransportError as error:
            self._tell(error)
            return
        finally:
            self._accepting.difference_update({asyncio.current_task()})
        if receiver is not None:
            await self._hold(receiver)
        self._take_up()

    async def _hold(self, receiver: Any) -> None:
        link = SessionLink(self._queue, receiver, self._settling, self._clock)
        self._active.add(link)
        accepted = monotonic()
        events.session_accepted(self._queue, link.id)
        self._take_up()
        try:
            await self._serve(link)
        except TransportError as error:
            text = "session %s of %s was lost: %s"
            events.info(self._queue, "session", text, link.id, self._queue, error)
        finally:
            self._active.discard(link)
            seconds = monotonic() - accepted
            events.session_ended(self._queue, link.id, seconds, completed=link.completed)
            await link.close()

    async def _serve(self, link: SessionLink) -> None:
        while not link.over and await self._is_wanted():
            messages = await link.fetch(self._next_share(), IDLE_SECONDS)
            if not messages:
                return
            if not (await self._is_wanted() and self._hand(messages)):
                return  # closing the link gives them back
            await link.all_settled()

    def _next_share(self) -> int:
        return min(self._share, self._waiters[0].limit if self._waiters else 1)

    async def _accept(self) -> Any:
        """Get the next session that has messages, or None where there is none."""
        receiver = self._make_receiver()
        try:
            await open_receiver(receiver, self._queue, ACCEPT_SECONDS + OPEN_SECONDS)
        except TransportError as error:
            if _is_no_session(error.__cause__):
                return None
            raise
        return receiver


def _is_no_session(error: BaseException | None) -> bool:
    from azure.servicebus.exceptions import OperationTimeoutError, SessionCannotBeLockedError

    # The service's own time-out; the SDK's says nothing of sessions.
    looked = isinstance(error, OperationTimeoutError) and "com.microsoft:timeout" in str(error)
    return looked or isinstance(error, SessionCannotBeLockedError)
