"""Tells a container's platform on one small port how its pollers get on."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import SettingsError
from queue_runtime.hosts.poller.liveness import State
from queue_runtime.observability.exporters.prometheus import CONTENT_TYPE, exposition
from queue_runtime.transports.base import Depth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.hosts.poller.poller import Poller

# A request to the queue service for each scrape would be one for every replica's every probe.
_KEEP_SECONDS: Final = 5.0
_DEPTH_SECONDS: Final = 4.0
_JSON: Final = "application/json"


class HealthServer:
    """Answers on a thread of its own, so that a handler that holds the loop up is seen.

    - `/health/live`: 503 where a receive, or the event loop, has been stuck for half a minute
      beyond what it may take. An outage of the queue service is not.
    - `/health/ready`: 503 until the queue has answered, while the breaker is open, and from the
      signal to end on.
    - `/stats`: depth, in flight and lag, as JSON; `/metrics`: for Prometheus.

    Args:
        port: 0 takes a free one.
        pollers: what is told of; they may not have started yet.
        host: the interface; all by default, since probes come from outside of the container.

    Raises:
        SettingsError: the port is taken.
    """

    def __init__(self, port: int, pollers: Sequence[Poller], *, host: str = "") -> None:
        self._pollers = pollers
        self._depths = [_Depths(poller) for poller in pollers]
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except OSError as error:
            raise SettingsError(
                f"the health port {port} cannot be used ({error.strerror}): set another one with "
                "--health-port or QUEUE_HEALTH_PORT, or 0 for none"
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="queue-runtime-health",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, str, str]:
        """Give status, content type and content for a path."""
        if path == "/health/live":
            return self._told("live", [poller.liveness.stuck() for poller in self._pollers])
        if path == "/health/ready":
            return self._told("ready", list(map(self._not_ready, self._pollers, self._depths)))
        if path == "/stats":
            return self._stats()
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, exposition()
        paths = "/health/live, /health/ready, /stats, /metrics"
        return HTTPStatus.NOT_FOUND, _JSON, json.dumps({"paths": paths})

    def _told(self, what: str, whys: list[str | None]) -> tuple[int, str, str]:
        problems = {
            poller.queue: why for poller, why in zip(self._pollers, whys, strict=True) if why
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return status, _JSON, json.dumps({what: not problems, "problems": problems})

    def _not_ready(self, poller: Poller, depths: _Depths) -> str | None:
        state = poller.liveness.state()
        if state is State.STARTING and depths.now() is not None:
            return None  # it waits for its first message, but its queue has answered
        return None if state is State.READY else state.value

    def _stats(self) -> tuple[int, str, str]:
        queues = [_stats_of(p, d.now()) for p, d in zip(self._pollers, self._depths, strict=True)]
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

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0

            def do_GET(self) -> None:
                _reply(self, answer)

            do_HEAD = do_GET  # some load balancers ask so

            def log_message(self, *_: object) -> None:
                """Say nothing: probes come every few seconds."""

        return Handler


class _Depths:
    """One queue's depth, asked for at most every few seconds, whoever wants to know."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._lock = Lock()
        self._asked_at = -_KEEP_SECONDS
        self._depth: Depth | None = None

    def now(self) -> Depth | None:
        """Give the depth; None where the queue could not be asked."""
        with self._lock:
            if monotonic() - self._asked_at >= _KEEP_SECONDS:
                self._depth = asyncio.run(self._ask())
                self._asked_at = monotonic()
            return self._depth

    async def _ask(self) -> Depth | None:
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


def _reply(handler: BaseHTTPRequestHandler, answer: Callable[[str], tuple[int, str, str]]) -> None:
    status, content_type, text = answer(handler.path.partition("?")[0].rstrip("/"))
    content = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)
