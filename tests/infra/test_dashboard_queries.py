"""Each query of the dashboard, asked of a real Prometheus that has scraped what we export."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isfinite
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from queue_runtime.observability.exporters.prometheus import exposition
from queue_runtime.observability.metrics import INSTRUMENTS, Counter, Gauge, Histogram
from scripts.dashboard_picture.panels import dashboard, filled_in
from scripts.dashboard_picture.prometheus import Prometheus, wait_until
from tests.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRAPE_SECONDS = 0.2
TARGETS = [
    (panel["title"], target["expr"])
    for panel in dashboard()["panels"]
    for target in panel.get("targets", ())
]
# Values of the labels that queries choose by; one each would leave some of them without data.
VALUES = {
    "status": ("success", "failure"),
    "signal": ("DeadLetter",),
    "error_type": ("receive:TransportError", "ValueError"),
    "what": ("idempotency_store",),
    "setting": ("connection_string",),
    "state": ("visible", "in_flight", "delayed", "dead_lettered"),
}
# All that a poller has counted to which nothing bad has happened yet.
OF_A_GOOD_DAY = (
    "queue_messages_received_total",
    "queue_messages_completed_total",
    "queue_receive_duration_seconds",
    "queue_depth",
)
# What such a poller must show as nothing, rather than not at all.
NOTHING = {
    "Dead-letter rate",
    "Requests that fail",
    "Retry rate",
    "Locks lost in 15 minutes",
    "Circuit breaker",
}


class Busy:
    """Instruments of our names, apart from those of other tests; each scrape finds more in them."""

    def __init__(self) -> None:
        self.instruments = [type(each)(each.name, each.labels, each.help) for each in INSTRUMENTS]

    def scraped(self) -> str:
        for instrument in self.instruments:
            self._bump(instrument, "busy")
            if instrument.name in OF_A_GOOD_DAY:
                self._bump(instrument, "good")
        return exposition(self.instruments)

    def _bump(self, instrument: Counter | Gauge | Histogram, queue: str) -> None:
        others = [VALUES[label] for label in instrument.labels if label != "queue"]
        for labels in [(queue, value) for value in others[0]] if others else [(queue,)]:
            if isinstance(instrument, Counter):
                instrument.add(3, *labels)
            elif isinstance(instrument, Histogram):
                instrument.record(0.02, *labels)
            else:
                instrument.set(1, *labels)


@contextmanager
def served(busy: Busy) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = busy.scraped().encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def values(prometheus: Prometheus, query: str, queue: str) -> list[float]:
    asked = filled_in(query, scrape_seconds=SCRAPE_SECONDS, queue=queue)
    return [value for series in prometheus.at(asked) for _, value in series.points]


def test_every_query_is_answered(tmp_path: Path) -> None:
    program("prometheus")
    with (
        served(Busy()) as target,
        Prometheus(tmp_path, [target], every=SCRAPE_SECONDS) as prometheus,
    ):
        rates = filled_in(TARGETS[0][1], scrape_seconds=SCRAPE_SECONDS, queue="good")
        wait_until("rates are known", lambda: prometheus.at(rates), 30.0)
        for title, query in TARGETS:
            found = values(prometheus, query, "busy")
            assert found, (title, query)
            assert all(map(isfinite, found)), (title, query)
        nothing = {t for t, query in TARGETS if values(prometheus, query, "good") == [0.0]}
        assert nothing >= NOTHING
        with pytest.raises(ValueError, match="parse error"):
            prometheus.at("sum(")
