"""A real Prometheus of one's own, for as long as a `with` block lasts."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_START_SECONDS = 30.0


class Series(NamedTuple):
    """One line of an answer: its labels, and pairs of time and value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class Prometheus:
    """Scrapes targets on this machine until its block ends, and answers queries.

    Args:
        folder: where it keeps its data; nothing is left running in it afterwards.
        targets: `host:port` of each.
        every: seconds between scrapes.
    """

    def __init__(self, folder: Path, targets: Sequence[str], *, every: float) -> None:
        self._folder, self._targets, self._every = folder, targets, every
        self._address = f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Prometheus:
        config = self._folder / "prometheus.yml"
        config.write_text(json.dumps(self._config()))
        self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            ["prometheus",  # noqa: S607 - wherever the system has it
             f"--config.file={config}",
             f"--storage.tsdb.path={self._folder / 'tsdb'}",
             f"--web.listen-address={self._address}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until("Prometheus is ready", self._is_ready, _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def at(self, query: str) -> list[Series]:
        """Evaluate a query now.

        Raises:
            ValueError: it is no query; the text says why.
        """
        return [
            Series(each["metric"], [(each["value"][0], float(each["value"][1]))])
            for each in self._ask("query", query=query)
        ]

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Evaluate a query again and again between two times.

        Raises:
            ValueError: it is no query; the text says why.
        """
        found = self._ask("query_range", query=query, start=start, end=end, step=step)
        return [
            Series(each["metric"], [(at, float(value)) for at, value in each["values"]])
            for each in found
        ]

    def _ask(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        try:
            answer = json.loads(self._get(f"/api/v1/{what}?{urlencode(parameters)}"))
        except HTTPError as error:
            with error:
                raise ValueError(json.loads(error.read())["error"]) from None
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def _get(self, path: str) -> bytes:
        with urlopen(f"http://{self._address}{path}", timeout=10) as answer:
            content: bytes = answer.read()
            return content

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError("Prometheus ended at once: run it by hand to see why")
        return bool(self._get("/-/ready"))

    def _config(self) -> Mapping[str, object]:
        every = f"{self._every * 1000:.0f}ms"
        return {
            "global": {"scrape_interval": every, "scrape_timeout": every},
            "scrape_configs": [
                {"job_name": "pollers", "static_configs": [{"targets": list(self._targets)}]}
            ],
        }


def free_port() -> int:
    """Give a port of the loopback interface that nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(what: str, holds: Callable[[], object], seconds: float) -> None:
    """Ask again and again until something holds.

    Raises:
        TimeoutError: it did not come about in time.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except (URLError, ConnectionError):
            pass  # it is not up yet
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not after {seconds:g} s")
