"""Tells a container's platform on one small port how its pollers get on."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.hosts.poller.http_server import HttpServer
from queue_runtime.hosts.poller.liveness import State
from queue_runtime.hosts.poller.process_metrics import process_exposition
from queue_runtime.observability.exporters.prometheus import CONTENT_TYPE, exposition
from queue_runtime.transports.base import Depth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.hosts.poller.http_server import Answer
    from queue_runtime.hosts.poller.poller import Poller

# A request to the queue service for each scrape would be one for every replica's every probe.
_KEEP_SECONDS: Final = 5.0
_DEPTH_SECONDS: Final = 4.0
_JSON: Final = "application/json"
_PATHS: Final = "/health/live, /health/ready, /stats, /metrics"


class TellsHealth(Protocol):
    """Pollers, of this process or of several."""

    async def live(self) -> Mapping[str, str]:
        """Give what does not move, by queue or process; nothing where all is well."""

    async def ready(self) -> Mapping[str, str]:
        """Give what cannot take messages now, by queue or process."""

    async def stats(self) -> Sequence[Mapping[str, Any]]:
        """Give the numbers of each queue."""

    async def metrics(self) -> str:
        """Give all metrics in Prometheus's text format."""


class Health:
    """What is known of the pollers of this process, from any event loop but one at a time.

    Args:
        pollers: all of them.
        asks: whether their queues are asked how much is in them.
    """

    def __init__(self, pollers: Sequence[Poller], *, asks: bool = True) -> None:
        self._pollers = pollers
        self._depths = [_Depths(poller if asks else None) for poller in pollers]

    async def live(self) -> dict[str, str]:
        """Give what does not move, by queue."""
        stuck = {poller.queue: poller.liveness.stuck() for poller in self._pollers}
        return {queue: why for queue, why in stuck.items() if why}

    async def ready(self) -> dict[str, str]:
        """Give which queue's poller cannot take messages now, and why."""
        whys = {
            poller.queue: await _not_ready(poller, depths)
            for poller, depths in zip(self._pollers, self._depths, strict=True)
        }
        return {queue: why for queue, why in whys.items() if why}

    async def stats(self) -> list[dict[str, Any]]:
        """Give the numbers of each queue."""
        return [
            _stats_of(poller, await depths.now())
            for poller, depths in zip(self._pollers, self._depths, strict=True)
        ]

    async def metrics(self) -> str:
        """Give all metrics of the process."""
        return exposition() + process_exposition()


class HealthServer(HttpServer):
    """Answers on a thread of its own, so that a handler that holds the loop up is seen.

    - `/health/live`: 503 where a receive, or the event loop, has been stuck for half a minute
      beyond what it may take. An outage of the queue service is not.
    - `/health/ready`: 503 until the queue has answered, while the breaker is open, while handlers
      hang, and from the signal to end on.
    - `/stats`: depth, in flight and lag, as JSON; `/metrics`: for Prometheus.

    Args:
        port: 0 takes a free one.
        health: tells of the pollers, which may not have started yet.
        host: the address to listen on; all by default, since probes come from outside of the
            container.

    Raises:
        SettingsError: the port is taken.
    """

    def __init__(self, port: int, health: TellsHealth, *, host: str | None = None) -> None:
        super().__init__(port, lambda path: answer(health, path), host)


async def answer(health: TellsHealth, path: str) -> Answer:
    """Give status, content type and content for a path."""
    if path == "/health/live":
        return _told("live", await health.live())
    if path == "/health/ready":
        return _told("ready", await health.ready())
    if path == "/stats":
        return _stats(await health.stats())
    if path == "/metrics":
        return HTTPStatus.OK, CONTENT_TYPE, await health.metrics()
    return HTTPStatus.NOT_FOUND, _JSON, json.dumps({"paths": _PATHS})


def _told(what: str, problems: Mapping[str, str]) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, _JSON, json.dumps({what: not problems, "problems": problems})


def _stats(queues: Sequence[Mapping[str, Any]]) -> Answer:
    known = [each for each in queues if each["visible"] is not None]
    ages = [each["oldest_seconds"] for each in known if each["oldest_seconds"] is not None]
    # A scaler must not take a queue that cannot be asked for an empty one.
    complete = len(known) == len(queues)
    content: dict[str, Any] = {
        name: sum(each[name] for each in known) if complete else None
        for name in ("visible", "in_flight", "delayed", "backlog", "total")
    }
    content["oldest_seconds"] = max(ages, default=None)
    content["queues"] = queues
    status = HTTPStatus.OK if complete else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _JSON, json.dumps(content)


async def _not_ready(poller: Poller, depths: _Depths) -> str | None:
    state = poller.liveness.state()
    if state is State.STARTING and await depths.now() is not None:
        return None  # it waits for its first message, but its queue has answered
    return None if state is State.READY else state.value


class _Depths:
    """One queue's depth, asked for at most every few seconds, whoever wants to know."""

    def __init__(self, poller: Poller | None) -> None:
        self._poller = poller
        self._lock = asyncio.Lock()
        self._asked_at = -_KEEP_SECONDS
        self._depth: Depth | None = None

    async def now(self) -> Depth | None:
        """Give the depth; None where the queue could not be asked."""
        async with self._lock:
            if monotonic() - self._asked_at >= _KEEP_SECONDS:
                self._depth = await self._ask()
                self._asked_at = monotonic()
            return self._depth

    async def _ask(self) -> Depth | None:
        if self._poller is None:
            return None
        try:
            async with asyncio.timeout(_DEPTH_SECONDS):
                return await self._poller.depth()
        except Exception:  # whatever it is, a probe has to be answered
            return None


def _stats_of(poller: Poller, depth: Depth | None) -> dict[str, Any]:
    figures = dict.fromkeys(Depth._fields) | dict.fromkeys(("backlog", "total"))
    return {
        "queue": poller.queue,
        "state": poller.liveness.state().value,
        **(figures if depth is None else depth.as_dict()),
        "here": poller.stats.as_dict(),
    }
