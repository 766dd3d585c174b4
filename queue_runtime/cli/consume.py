"""Runs pollers side by side until they end or a signal ends them."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from queue_runtime.cli.reports import Reporter
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.hosts.poller.health import Health, HealthServer
from queue_runtime.transports import open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.cli.ending import Ending
    from queue_runtime.cli.limits import Limits
    from queue_runtime.config import Settings
    from queue_runtime.handler import Handler
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


class Job(NamedTuple):
    """One handler on one queue."""

    target: str
    handler: Handler[Any, Any]
    url: str
    settings: Settings


async def consume(
    jobs: Sequence[Job],
    until: Until,
    *,
    observe: Callable[[Job, Message[Any], Outcome], None],
    started: Callable[[Sequence[tuple[Job, Poller]]], asyncio.Task[None]],
    stopping: Callable[[], None],
    ending: Ending,
    limits: Limits,
    parent: str | None = None,
) -> None:
    """Poll all jobs, until they end by themselves, a signal does it, or the parent has gone.

    `stopping` is called when a signal begins the end, while handlers may still run.

    A poller that fails ends the others too, since half a service looks like a whole one.

    Raises:
        TransportError: a queue is missing or refuses us.
        SettingsError: the health port is taken.
    """
    async with AsyncExitStack() as stack:
        running = []
        for job in jobs:
            name = job.handler.definition.name
            transport = open_transport(job.url, settings=job.settings, handler=name)
            stack.push_async_callback(transport.aclose)
            poller = Poller(
                job.handler,
                transport,
                settings=job.settings,
                observe=partial(observe, job),
            )
            running.append((job, poller))
        pollers = [poller for _, poller in running]
        port = health_port(jobs)
        if parent is not None:
            descriptor, _, asks = parent.partition(":")
            health = Health(pollers, asks=asks == "1") if port else None
            stack.callback(Reporter(int(descriptor), health, pollers).close)
        elif port:
            stack.callback(HealthServer(port, Health(pollers), host=health_address(jobs)).close)
        ending.tell(
            asyncio.get_running_loop(),
            partial(_stop_and_say, pollers, stopping),
            partial(_give_back, pollers),
            partial(_describe, pollers),
        )
        if parent is not None:
            _stop_with_parent(pollers)
        beside = [
            started(running),
            asyncio.create_task(limits.watch(pollers, partial(_stop, pollers))),
        ]
        try:
            await _all_to_their_end(pollers, until, beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)


def health_port(jobs: Sequence[Job]) -> int:
    """Give the port on which all of them are told of, or 0."""
    return next((job.settings.health_port for job in jobs if job.settings.health_port), 0)


def health_address(jobs: Sequence[Job]) -> str | None:
    """Give the address to listen on, or None for all."""
    return next((job.settings.health_address for job in jobs if job.settings.health_address), None)


async def _all_to_their_end(
    pollers: Sequence[Poller], until: Until, beside: Sequence[asyncio.Task[None]]
) -> None:
    runs = [asyncio.create_task(poller.run(until)) for poller in pollers]
    try:
        await _until_all_ended(runs, pollers, beside)
    finally:
        # Also where a handler has cancelled every task: their transports are closed after this.
        _stop(pollers)
        await _wait_through_cancellations(runs)


async def _until_all_ended(
    runs: Sequence[asyncio.Task[Any]],
    pollers: Sequence[Poller],
    beside: Sequence[asyncio.Task[None]],
) -> None:
    waiting: set[asyncio.Task[Any]] = {*runs, *beside}
    failed: BaseException | None = None
    while any(not run.done() for run in runs):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = None if task.cancelled() else task.exception()
            if error is not None and failed is None:
                failed = error
                _stop(pollers)
    if failed is not None:
        raise failed


async def _wait_through_cancellations(runs: Sequence[asyncio.Task[Any]]) -> None:
    while any(not run.done() for run in runs):
        with suppress(asyncio.CancelledError):
            await asyncio.wait(runs)


def _give_back(pollers: Sequence[Poller], everything: bool) -> None:
    for poller in pollers:
        poller.give_back(everything)


def _describe(pollers: Sequence[Poller]) -> list[str]:
    return [line for poller in pollers for line in poller.describe()]


def _stop_and_say(pollers: Sequence[Poller], say: Callable[[], None]) -> None:
    _stop(pollers)
    say()


def _stop(pollers: Sequence[Poller]) -> None:
    for poller in pollers:
        poller.stop()


def _stop_with_parent(pollers: Sequence[Poller]) -> None:
    """End cleanly when the process that started this one is gone, however it went."""
    loop = asyncio.get_running_loop()

    def on_stdin() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            _stop(pollers)

    loop.add_reader(0, on_stdin)
