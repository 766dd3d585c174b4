"""What a signal does, in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from queue_runtime.cli import main
from queue_runtime.cli.ending import Ending
from tests.cli.shell import HANDLERS, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.shell import Shell


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def kill_me(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("early", [True, False])
def test_the_first_signal_stops_and_the_second_ends(early: bool, exits: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def run(ending: Ending) -> None:
        stopped = asyncio.Event()
        if early:
            kill_me()
        ending.tell(asyncio.get_running_loop(), stopped.set)
        if not early:
            kill_me()
        async with asyncio.timeout(10):
            await stopped.wait()
        assert exits == []
        kill_me(signal.SIGINT)
        assert exits == [128 + signal.SIGINT]

    with Ending(60) as ending:
        asyncio.run(run(ending))
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_same_signal_twice_in_a_moment_is_one(
    exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ending(60):
        kill_me()
        kill_me()
        assert exits == []
        monkeypatch.setattr("queue_runtime.cli.ending._SAME_SECONDS", 0.0)
        kill_me()
        assert exits == [128 + signal.SIGTERM]


def test_a_signal_after_the_loop_has_ended_hurts_nobody(exits: list[int]) -> None:
    async def run(ending: Ending) -> None:
        ending.tell(asyncio.get_running_loop(), exits.clear)

    with Ending(60) as ending:
        asyncio.run(run(ending))
        kill_me()
    assert exits == []


def test_who_does_not_end_in_time_is_ended(
    exits: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    with Ending(-60):  # no time at all
        kill_me()
        wait_until(lambda: exits == [128 + signal.SIGTERM])
    assert "neither ended nor let itself be cancelled" in capfd.readouterr().err


def test_processes_are_run_from_here(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shell.send(10)
    for name, value in shell.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "handlers", raising=False)
    monkeypatch.setattr("queue_runtime.cli.poll.log_as_json", lambda *_a, **_k: None)
    arguments = ["poll", "handlers:die", "--queue", "local://q?lock=0.5", "--until-empty"]
    monkeypatch.setattr(sys, "argv", ["queue-runtime", *arguments, "--processes", "2"])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(sys.argv[1:]) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capfd.readouterr().out.count('"stopped"') == 2
    assert "def die" in HANDLERS
