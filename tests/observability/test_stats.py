from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from rich.console import Console

from queue_runtime.cli import main, output, stats
from queue_runtime.config import load_settings
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import Depth, OutgoingMessage


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _send(queue: str, *delays: float) -> None:
    async def send() -> None:
        transport = open_transport(queue, settings=load_settings(environ={}))
        await transport.send([OutgoingMessage(body="x", delay=delay) for delay in delays])
        await transport.aclose()

    asyncio.run(send())


def test_json_has_a_line_for_each_queue(capsys: pytest.CaptureFixture[str]) -> None:
    _send("local://orders", 0, 0, 60)
    _send("local://clicks", 0)
    assert main(["stats", "local://orders", "local://clicks", "--json"]) == 0
    orders, clicks = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert orders["queue"] == "local://orders"
    assert (orders["visible"], orders["delayed"], orders["in_flight"]) == (2, 1, 0)
    assert (orders["dead_lettered"], orders["total"]) == (0, 3)
    assert orders["oldest_seconds"] >= 0
    assert clicks["visible"] == 1


def test_a_table_without_a_terminal_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    _send("local://orders", 0)
    assert main(["stats", "local://orders", "--table"]) == 0
    out = capsys.readouterr().out
    assert "in flight" in out
    assert "local://orders" in out


def test_a_queue_that_cannot_be_asked_is_named_and_the_others_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_runtime.errors import AccessDeniedError
    from queue_runtime.transports.local.transport import LocalTransport

    _send("local://orders", 0)
    _send("local://closed", 0)
    really = LocalTransport.depth

    async def depth(self: LocalTransport) -> Depth:
        if self.queue == "closed":
            raise AccessDeniedError("closed: no")
        return await really(self)

    monkeypatch.setattr(LocalTransport, "depth", depth)
    assert main(["stats", "local://orders", "local://closed", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["visible"] == 1
    assert lines[1] == {"queue": "local://closed", "error": "closed: no"}
    assert main(["stats", "local://orders", "local://closed", "--table"]) == 1
    assert "closed: no" in capsys.readouterr().out


def test_a_queue_url_that_is_none_is_a_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "ftp://orders"]) == 2
    assert "no queue URL" in capsys.readouterr().err


class _EnoughError(Exception):
    pass


def _looks(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    left = iter(range(count))

    async def sleep(_seconds: float) -> None:
        if next(left, None) is None:
            raise _EnoughError

    monkeypatch.setattr("queue_runtime.cli.stats.asyncio.sleep", sleep)


def test_watching_looks_again_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _send("local://orders", 0)
    _looks(monkeypatch, 2)
    with pytest.raises(_EnoughError):
        main(["stats", "local://orders", "--json", "--watch", "--every", "0.001"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_at_a_terminal_the_table_is_drawn_again_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    _send("local://orders", 0)
    screen = Console(record=True, width=100, force_terminal=True, quiet=False, file=_Nowhere())
    monkeypatch.setattr(output, "console", lambda: screen)
    _looks(monkeypatch, 1)
    with pytest.raises(_EnoughError):
        main(["stats", "local://orders", "--watch", "--table"])
    drawn = screen.export_text()
    assert drawn.count("local://orders") >= 2


class _Nowhere(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3_661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_an_age_is_said_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert stats.age(seconds) == text
