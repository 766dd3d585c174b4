"""Threads that run sync handlers, woken by as few signals as their speed allows."""

from __future__ import annotations

from collections import deque
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from contextvars import Context

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.ready_queue import ReadyQueue
    from queue_runtime.outcome import Outcome

# Below this a woken thread costs more than the handler: one thread then works a whole batch off.
QUICK_SECONDS: Final = 0.0003
_REPORT_AT: Final = 10
_NUDGE_SECONDS: Final = 0.02
_WEIGHT: Final = 0.2


class Workers:
    """At most `count` threads that take messages from the ready queue and report their outcomes.

    A quick handler's batch wakes one thread, a slow one's as many as are idle. Outcomes go back to
    the event loop ten at a time, or at once where handlers are slow, and never wait for a message
    that blocks. The threads are daemons: a handler that never returns cannot keep the process from
    ending. `context` is what context variables start from.
    """

    def __init__(
        self,
        count: int,
        ready: ReadyQueue,
        run: Callable[[HeldMessage], Outcome],
        report: Callable[[HeldMessage, Outcome], None],
        loop: AbstractEventLoop,
        context: Context,
    ) -> None:
        self._count = count
        self._ready = ready
        self._run = run
        self._report = report
        self._loop = loop
        self._context = context
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._threads: list[Thread] = []
        self._idle = 0
        self._average = QUICK_SECONDS  # taken for slow until it is known to be quick
        self._outcomes: deque[tuple[HeldMessage, Outcome]] = deque()
        self._reporting = False
        self._nudging = False
        self._lock = Lock()

    def wake(self) -> None:
        """Let idle threads know that the ready queue has grown. Called on the event loop."""
        waiting = len(self._ready)
        self._signal(min(waiting, 1) if self._average < QUICK_SECONDS else waiting)
        self._nudge_soon()

    def close(self) -> None:
        """Let idle threads end; busy ones end with the message that they run, if it does."""
        for _ in self._threads:
            self._tokens.put(False)

    def _nudge_soon(self) -> None:
        # A thread may meet a message that blocks: what waits behind it needs another thread, and
        # what it has done before must not wait for its end.
        if not self._nudging:
            self._nudging = True
            self._loop.call_later(_NUDGE_SECONDS, self._nudge, context=self._context)

    def _nudge(self) -> None:
        self._nudging = False
        if self._outcomes or len(self._ready):
            self._collect()
            self._signal(len(self._ready))
            self._nudge_soon()

    def _signal(self, wanted: int) -> None:
        # No more tokens than idle threads: the busy ones look at the ready queue by themselves.
        while self._idle < wanted and len(self._threads) < self._count:
            self._start_thread()
        for _ in range(min(wanted, self._idle)):
            self._tokens.put(True)

    def _start_thread(self) -> None:
        with self._lock:
            self._idle += 1
        name = f"queue-runtime-worker-{len(self._threads) + 1}"
        thread = Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while self._tokens.get():
            while len(self._ready):
                self._set_idle(-1)
                while (held := self._ready.take()) is not None:
                    self._one(held)
                self._hand_over()
                # Idle first, then one more look: whoever adds does the two the other way round.
                self._set_idle(+1)

    def _set_idle(self, change: int) -> None:
        with self._lock:
            self._idle += change

    def _one(self, held: HeldMessage) -> None:
        started = monotonic()
        outcome = (held.context or self._context).copy().run(self._run, held)
        took = monotonic() - started
        self._average += (took - self._average) * _WEIGHT
        self._outcomes.append((held, outcome))
        if len(self._outcomes) >= _REPORT_AT or took >= QUICK_SECONDS:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._outcomes and not self._reporting:
            self._reporting = True
            try:
                self._loop.call_soon_threadsafe(self._collect, context=self._context)
            except RuntimeError:
                return  # the loop has ended: the message was given back at the end of the drain

    def _collect(self) -> None:
        self._reporting = False
        while self._outcomes:
            self._report(*self._outcomes.popleft())
