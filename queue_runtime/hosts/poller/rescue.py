"""Gives back from a thread what a poller holds, while a handler holds its event loop up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from queue_runtime.hosts.poller.settler import Settler
from queue_runtime.outcome import unrun
from queue_runtime.transports.base import GivesUpReceives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.hosts.poller.receiver import Receiver
    from queue_runtime.hosts.poller.runner import Runner
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import Transport

STOPPING: Final = unrun("the process is stopping", delay=0.0)
NOT_STOPPED: Final = unrun("the process is stopping", delay=0.0, may_run=True)
_SETTLE_SECONDS: Final = 2.0


class Rescue:
    """Settles without the poller's event loop, on a loop of its own; to be used on a thread.

    Should the poller's loop move again meanwhile, a message may be given back twice, which no
    queue service minds.
    """

    def __init__(
        self,
        transport: Transport,
        receiver: Receiver,
        runner: Runner,
        settler: Settler,
        in_flight: InFlight,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._receiver = receiver
        self._runner = runner
        self._settler = settler
        self._in_flight = in_flight
        self._loop = loop

    def give_back(self, everything: bool) -> None:
        """Settle what has an outcome and give back what waits; with `everything`, what runs too."""
        self._receiver.start_no_more()
        if isinstance(self._transport, GivesUpReceives):
            self._transport.give_up_receives()
        settled = self._settler.withdraw()
        settled += [(held, STOPPING) for held in self._runner.take_unstarted()]
        if everything:
            running = self._in_flight.unanswered()
            for held in running:
                held.answered = True
            settled += [(held, NOT_STOPPED) for held in running]
        if settled:
            asyncio.run(self._settle(settled))

    async def _settle(self, settled: Sequence[tuple[HeldMessage, Outcome]]) -> None:
        settler = Settler(self._transport, self._settler.rules, self)
        for held, outcome in settled:
            held.handed_over = False  # to the settler of the loop that is held up
            settler.add(held, outcome)
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await settler.drain()
        except TimeoutError:
            return  # they come back when their locks end

    def release(self, settled: Sequence[tuple[HeldMessage, Outcome]]) -> None:
        """Have the poller let go of messages, if its loop should ever move again."""
        self._loop.call_soon_threadsafe(self._let_go, settled)

    def _let_go(self, settled: Sequence[tuple[HeldMessage, Outcome]]) -> None:
        for held, outcome in settled:
            if held.answer is not None and not held.answer.done():
                held.answer.set_result(outcome)  # a delivery middleware waits for it
        self._in_flight.release(settled)
