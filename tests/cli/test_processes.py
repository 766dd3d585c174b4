"""Real processes: signals, kills, several processes, a reader that goes away."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from queue_runtime.cli.ending import _SAME_SECONDS
from tests.cli.shell import events, line_of, stopped, wait_until

if TYPE_CHECKING:
    from tests.cli.shell import Shell


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(shell: Shell, number: signal.Signals) -> None:
    process = shell.start("poll", "handlers:take", "--queue", "local://q", "--json")
    line_of(process, '"started"')
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert stopped(out)["held"] == 0


def test_a_signal_gives_back_what_a_blocked_handler_holds(shell: Shell) -> None:
    shell.send(3)
    process = shell.start(
        "poll", "handlers:stuck", "--queue", "local://q", "--json", "--drain-seconds", "0.2"
    )
    line_of(process, "running")
    began = time.monotonic()
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert time.monotonic() - began < 20  # the handler sleeps for a minute
    assert stopped(out)["returned"] == 3
    assert shell.drain()["completed"] == 3


def test_a_second_signal_ends_it_at_once(shell: Shell) -> None:
    shell.send(1)
    process = shell.start("poll", "handlers:stuck", "--queue", "local://q", "--json")
    line_of(process, "running")
    process.terminate()
    time.sleep(_SAME_SECONDS + 0.2)  # sooner, it would be taken for the first one
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_goes_away_costs_its_lines_and_nothing_else(shell: Shell) -> None:
    shell.send(5)
    process = shell.start("poll", "handlers:take_text", "--queue", "local://q", "--json", "--each")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.stderr is not None
    assert "stdout cannot be written to" in process.stderr.readline()
    shell.send(1)
    wait_until(lambda: shell.depth().total == 0)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == ""  # it is said once


@pytest.mark.parametrize(
    "redirection", [">/dev/full", ">&-", "2>&-", "2>/dev/full", ">&- 2>&- <&-"]
)
def test_a_place_to_print_that_is_not_there_costs_its_lines_and_nothing_else(
    shell: Shell, redirection: str
) -> None:
    shell.send(5)
    command = f"{sys.executable} -m queue_runtime.cli poll handlers:take --queue local://q"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command} {redirection}"],
        cwd=shell.folder,
        env=shell.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: shell.depth().total == 0)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_a_poller_goes_on_with_the_file_that_has_replaced_its_own(shell: Shell) -> None:
    shell.send(1)
    process = shell.start("poll", "handlers:take", "--queue", "local://q", "--json")
    line_of(process, '"completed":1')
    (shell.folder / "queues" / "q.sqlite3").unlink()
    shell.send(5)
    wait_until(lambda: shell.depth().total == 0)
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, stopped(out)["completed"]) == (0, 6)
    assert "it is opened anew" in err


def test_processes_share_a_queue_and_end_by_themselves(shell: Shell) -> None:
    shell.send(200)
    done = shell.run(
        "poll", "handlers:take", "--queue", "local://q", "--until-empty", "--processes", "2"
    )
    assert done.returncode == 0, done.stderr
    ends = [event for event in events(done.stdout) if event["event"] == "stopped"]
    assert len(ends) == 2
    assert sum(end["completed"] for end in ends) == 200


def test_a_process_that_crashes_is_started_again(shell: Shell) -> None:
    shell.environ["QUEUE_VISIBILITY_TIMEOUT_SECONDS"] = "0.5"
    shell.send(1)
    done = shell.run(
        "poll", "handlers:die", "--queue", "local://q", "--until-empty", "--processes", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "started again" in done.stderr


def test_a_signal_reaches_all_processes(shell: Shell) -> None:
    process = shell.start("poll", "handlers:take", "--queue", "local://q", "--processes", "2")
    line_of(process, '"started"')
    line_of(process, '"started"')
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert len([event for event in events(out) if event["event"] == "stopped"]) == 2


def test_children_end_when_their_parent_is_killed(shell: Shell) -> None:
    process = shell.start("poll", "handlers:take", "--queue", "local://q", "--processes", "2")
    line_of(process, '"started"')
    line_of(process, '"started"')
    children = _children(process.pid)
    assert len(children) == 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in children))
    process.communicate()


def test_a_terminal_shows_a_live_table_and_the_fates(shell: Shell) -> None:
    shell.send(30)
    shell.run("send", "--queue", "local://q", '{"bad": true}')
    master, slave = pty.openpty()
    shell.environ |= {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-m", "queue_runtime.cli", "poll", "handlers:take", "--queue",
         "local://q", "--until-empty", "--quiet"],
        cwd=shell.folder,
        env=shell.environ,
        stdout=slave,
        stderr=slave,
        stdin=slave,
    )  # fmt: skip
    os.close(slave)
    shown = _read_all(master)
    assert process.wait(timeout=20) == 0
    assert "received a second" in shown
    assert "31 deliveries in" in shown
    assert "dead-lettered" in shown
    assert "bad" in shown


def _read_all(descriptor: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux tells that the other side of a terminal is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False
