"""What goes wrong around the commands: a sentence, an exit code that says so, and nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from queue_runtime.cli import main
from queue_runtime.cli.ending import _SAME_SECONDS
from queue_runtime.transports.local import database as local_store
from queue_runtime.transports.local import errors as local_errors
from tests.cli.shell import Shell, events, line_of, stopped
from tests.unit.transports.local.test_bad_files import as_a_user_without_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

MORE_HANDLERS = """
import asyncio, os, time
from queue_runtime import Message, queue_handler

@queue_handler
async def stubborn(message: Message[bytes]) -> None:
    print("running", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@queue_handler
async def spin(message: Message[bytes]) -> None:
    print("running", flush=True)
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        pass

@queue_handler
def always_dies(message: Message[bytes]) -> None:
    os._exit(9)
"""


@pytest.fixture
def shared() -> Iterator[Shell]:
    """A shell that another user can reach too; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Shell(Path(folder))


def here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands run in this process as they would in the shell."""
    monkeypatch.setenv("QUEUE_LOCAL_DIRECTORY", shell.environ["QUEUE_LOCAL_DIRECTORY"])
    monkeypatch.chdir(shell.folder)
    monkeypatch.setattr(sys, "path", [str(shell.folder), *sys.path])
    monkeypatch.delitem(sys.modules, "handlers", raising=False)
    monkeypatch.setattr("queue_runtime.cli.poll.log_as_json", lambda *_a, **_k: None)


def queue_file(shell: Shell, name: str = "q") -> Path:
    return shell.folder / "queues" / f"{name}.sqlite3"


def assert_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode not in {0, -signal.SIGKILL}
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize("command", [["poll", "handlers:take", "--once"], ["send", "body"]])
def test_a_folder_that_may_not_be_made_or_written(
    command: list[str],
    shared: Shell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here(shared, monkeypatch)
    with as_a_user_without_rights():
        assert main([*command, "--queue", "local://q"]) == 2
    assert "may not make its folder" in (told := capsys.readouterr().err)
    assert "QUEUE_LOCAL_DIRECTORY" in told
    shared.send(3)
    with as_a_user_without_rights():
        assert main([*command, "--queue", "local://q"]) == 2
    assert "may not write it" in capsys.readouterr().err
    assert shared.drain()["completed"] == 3


def test_a_missing_folder_is_made(shell: Shell) -> None:
    shell.environ["QUEUE_LOCAL_DIRECTORY"] = str(shell.folder / "not" / "yet" / "there")
    shell.send(2)
    assert shell.drain()["completed"] == 2


@pytest.mark.parametrize("command", [["poll", "handlers:take", "--once"], ["send", "body"]])
def test_a_file_that_somebody_keeps_locked(
    command: list[str],
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (local_store, local_errors):
        monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)
    here(shell, monkeypatch)
    shell.send(2)
    with closing(sqlite3.connect(queue_file(shell), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert main([*command, "--queue", "local://q"]) == 2
        db.execute("ROLLBACK")
    assert "another process has kept it locked" in capsys.readouterr().err
    assert shell.drain()["completed"] == 2


def test_a_damaged_file_ends_a_run_that_is_to_end(shell: Shell) -> None:
    shell.send(200)
    with closing(sqlite3.connect(queue_file(shell))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with queue_file(shell).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (queue_file(shell).stat().st_size - 4096))
    for command in (["poll", "handlers:take", "--once"], ["send", "body"]):
        done = shell.run(*command, "--queue", "local://q")
        assert_sentence(done, f"queue-runtime {command[0]}: ", "damaged", ".recover")


def limited(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_ends_a_send_and_tells_how_much_was_sent(shell: Shell) -> None:
    lines = "".join(f'{{"n": {n}, "pad": "{"x" * 200}"}}\n' for n in range(3000))
    process = shell.start(
        "send", "--queue", "local://q", "--lines", "-",
        stdin=subprocess.PIPE, preexec_fn=partial(limited, 300_000),
    )  # fmt: skip
    _, err = process.communicate(lines, timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in err
    sent = int(err.rpartition("(")[2].partition(" messages had been sent")[0].replace(",", ""))
    assert 0 < sent < 3000
    assert shell.drain()["completed"] == sent


def test_a_full_disk_is_told_by_a_poller_and_loses_nothing(shell: Shell) -> None:
    shell.environ["QUEUE_VISIBILITY_TIMEOUT_SECONDS"] = "0.5"
    shell.send(2000)
    process = shell.start(
        "poll", "handlers:take", "--queue", "local://q", "--until-empty",
        preexec_fn=partial(limited, 60_000),
    )  # fmt: skip
    out, err = process.communicate(timeout=50)
    done = subprocess.CompletedProcess([], process.returncode, out, err)
    assert_sentence(done, "queue-runtime poll: local queue q cannot be used")
    before = stopped(out)["completed"]
    assert shell.drain()["completed"] == 2000 - before


def test_two_pollers_share_one_file(shell: Shell) -> None:
    shell.send(600)
    arguments = ["poll", "handlers:take", "--queue", "local://q", "--until-empty", "--in-flight"]
    pollers = [shell.start(*arguments, "20") for _ in range(2)]
    ends = [poller.communicate(timeout=50) for poller in pollers]
    assert [poller.returncode for poller in pollers] == [0, 0], [err for _, err in ends]
    assert sum(stopped(out)["completed"] for out, _ in ends) == 600


def test_a_reader_that_went_before_the_end_costs_its_numbers_and_no_message(shell: Shell) -> None:
    shell.send(5)
    ends, reader_gone = os.pipe()
    os.close(ends)
    process = subprocess.run(
        [sys.executable, "-m", "queue_runtime.cli", "poll", "handlers:take", "--queue",
         "local://q", "--until-empty"],
        cwd=shell.folder,
        env=shell.environ,
        stdin=subprocess.DEVNULL,
        stdout=reader_gone,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )  # fmt: skip
    os.close(reader_gone)
    assert process.returncode == 0
    assert process.stderr.count("stdout cannot be written to (Broken pipe)") == 1
    assert shell.depth().total == 0


def test_a_table_of_several_processes_is_lines_of_each(shell: Shell) -> None:
    shell.send(20)
    done = shell.run(
        "poll", "handlers:take", "--queue", "local://q", "--until-empty", "--table",
        "--processes", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = [event for event in events(done.stdout) if event["event"] == "stopped"]
    assert sum(end["completed"] for end in ends) == 20


def more_handlers(shell: Shell) -> None:
    (shell.folder / "more.py").write_text(MORE_HANDLERS)
    shell.environ["QUEUE_DRAIN_SECONDS"] = "0.1"


def test_a_process_that_never_lives_long_ends_all(shell: Shell) -> None:
    more_handlers(shell)
    shell.environ["QUEUE_VISIBILITY_TIMEOUT_SECONDS"] = "0.2"
    shell.send(1)
    done = shell.run("poll", "more:always_dies", "--queue", "local://q", "--processes", "2")
    assert done.returncode == 9
    assert "all are ended" in done.stderr


def test_an_async_handler_that_never_ends_cannot_keep_the_process(shell: Shell) -> None:
    more_handlers(shell)
    shell.send(1)
    process = shell.start("poll", "more:stubborn", "--queue", "local://q")
    line_of(process, "running")
    began = time.monotonic()
    process.terminate()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGTERM
    assert "neither ended nor let itself be cancelled" in err
    assert time.monotonic() - began < 30  # far from for ever
    assert shell.drain()["completed"] == 1


def test_a_second_signal_is_heard_while_a_handler_holds_the_loop_up(shell: Shell) -> None:
    more_handlers(shell)
    shell.environ["QUEUE_DRAIN_SECONDS"] = "50"
    shell.send(1)
    process = shell.start("poll", "more:spin", "--queue", "local://q")
    line_of(process, "running")
    process.send_signal(signal.SIGINT)
    time.sleep(_SAME_SECONDS + 0.2)  # sooner, it would be taken for the first one
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT


def test_a_signal_before_anything_runs_ends_it_too(shell: Shell) -> None:
    (shell.folder / "slow.py").write_text(
        "import os, signal\nfrom handlers import take\nfrom queue_runtime.cli import consume\n"
        "opened = consume.open_transport\n"
        "def open_late(*arguments, **options):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return opened(*arguments, **options)\n"
        "consume.open_transport = open_late\n"
    )
    done = shell.run("poll", "slow:take", "--queue", "local://q")
    assert done.returncode == 0, done.stderr
    assert stopped(done.stdout)["received"] == 0


def test_what_has_no_effect_on_a_poller_is_said(shell: Shell) -> None:
    shell.environ["QUEUE_RESERVE_SECONDS"] = "3"
    done = shell.run("poll", "handlers:take", "--queue", "local://q", "--once")
    assert done.returncode == 0
    assert done.stderr.count("has no effect on poll") == 1


def test_sending_to_a_queue_in_memory_is_refused(shell: Shell) -> None:
    done = shell.run("send", "--queue", "local://orders?memory", "{}")
    assert done.returncode == 2
    assert "would be gone when this command ends" in done.stderr
