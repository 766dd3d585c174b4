"""The parent of several processes: what it replaces, what it says for all, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from queue_runtime.cli import child, main
from queue_runtime.cli.ending import SIGNALS
from tests.cli.shell import events, line_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.shell import Shell

HANDLERS = """
import os, re, threading, time
from pathlib import Path
from queue_runtime import Message, queue_handler

def once(what):
    try:
        os.close(os.open(what, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

@queue_handler
def take(body: dict) -> None:
    time.sleep(0.01)

@queue_handler
def hold_the_interpreter(body: dict) -> None:
    if once("held"):
        re.match(r"(a+)+$", "a" * 60 + "b")

@queue_handler
def hang(body: dict) -> None:
    if once("hung"):
        time.sleep(3600)

@queue_handler
def grow(body: dict) -> None:
    if once("grown"):
        globals()["kept"] = b"x" * 300_000_000
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def answer(port: int, path: str) -> Any:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            text = reply.read().decode()
    except HTTPError as error:
        text = error.read().decode()
    except (URLError, OSError):
        return None
    return text if path == "/metrics" else json.loads(text)


@pytest.fixture
def odd(shell: Shell) -> Shell:
    (shell.folder / "odd.py").write_text(HANDLERS)
    return shell


@pytest.fixture
def in_here(odd: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Be the parent, with the clocks that it waits by set short."""
    for name, value in odd.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(odd.folder)
    monkeypatch.setattr(sys, "path", [str(odd.folder), *sys.path])
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    monkeypatch.setattr("queue_runtime.cli.poll.log_as_json", lambda *_a, **_k: None)
    monkeypatch.setattr(child, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(child, "BEYOND_DRAIN_SECONDS", 0.5)
    numbers = (*SIGNALS, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}

    def run(target: str, *options: str, meanwhile: Callable[[], None]) -> int:
        arguments = ["poll", target, "--queue", "local://q", "--processes", "2", *options]
        arguments += ["--drain-seconds", "0.5"]
        monkeypatch.setattr(sys, "argv", ["queue-runtime", *arguments])

        def beside() -> None:
            try:
                meanwhile()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=beside)
        thread.start()
        try:
            return main(arguments)
        finally:
            thread.join()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def children() -> list[int]:
    """Give the parent's processes, and no server that other tests have running from here."""
    path = Path(f"/proc/{os.getpid()}/task/{threading.main_thread().native_id}/children")
    found = [int(pid) for pid in path.read_text().split()]
    return [pid for pid in found if b"--with-parent" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_child_that_is_stopped_is_replaced(
    odd: Shell, in_here: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()

    def meanwhile() -> None:
        wait_until(lambda: up(port) == 2)
        (first, *_) = before = children()
        os.kill(first, signal.SIGSTOP)
        wait_until(lambda: up(port) == 2 and first not in children() and len(children()) == 2)
        assert before[1] in children()

    assert in_here("odd:take", "--health-port", str(port), meanwhile=meanwhile) == 0
    assert "it has said nothing for" in caplog.text
    assert "it is killed" in caplog.text


def test_a_child_whose_interpreter_is_held_is_replaced(
    odd: Shell, in_here: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    odd.environ["QUEUE_VISIBILITY_TIMEOUT_SECONDS"] = os.environ[
        "QUEUE_VISIBILITY_TIMEOUT_SECONDS"
    ] = "0.5"
    odd.send(20)

    def meanwhile() -> None:
        wait_until(lambda: (odd.folder / "held").exists())
        before = children()
        wait_until(lambda: odd.depth().total == 0)
        wait_until(lambda: len(children()) == 2 and children() != before)

    assert in_here("odd:hold_the_interpreter", meanwhile=meanwhile) == 0
    assert "it has said nothing for" in caplog.text


def test_a_child_with_a_call_beyond_its_time_is_replaced(
    odd: Shell, in_here: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    os.environ["QUEUE_HANDLER_SECONDS"] = "0.2"
    try:
        odd.send(20)

        def meanwhile() -> None:
            wait_until(lambda: odd.depth().total == 0)

        assert in_here("odd:hang", meanwhile=meanwhile) == 0
    finally:
        del os.environ["QUEUE_HANDLER_SECONDS"]
    assert "1 calls have run for longer than they may" in caplog.text


def up(port: int) -> int:
    text = answer(port, "/metrics") or ""
    return sum(
        int(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("queue_runtime_process_up{")
    )


def test_one_port_tells_of_all_processes(odd: Shell) -> None:
    port = free_port()
    odd.environ["QUEUE_METRICS"] = "prometheus"
    options = ("--processes", "2", "--health-port", str(port))
    process = odd.start("poll", "odd:take", "--queue", "local://q", *options)
    try:
        wait_until(lambda: (answer(port, "/health/ready") or {}).get("ready"))
        assert answer(port, "/health/live") == {"live": True, "problems": {}}
        odd.send(100)
        wait_until(lambda: counted(port) == 100)
        wait_until(lambda: up(port) == 2)
        stats = answer(port, "/stats")
        (of_queue,) = stats["queues"]
        assert (of_queue["queue"], stats["visible"]) == ("q", 0)
        assert of_queue["here"]["completed"] == 100
        text = answer(port, "/metrics")
        for number in (1, 2):
            assert f'process_resident_memory_bytes{{process="{number}"}}' in text
        names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
        assert len(names) == len(set(names))
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def counted(port: int) -> float:
    lines = (answer(port, "/metrics") or "").splitlines()
    wanted = 'queue_messages_completed_total{queue="q"} '
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def test_counters_go_on_where_a_process_is_replaced(odd: Shell) -> None:
    port = free_port()
    options = ("--processes", "2", "--health-port", str(port))
    odd.environ["QUEUE_MAX_MESSAGES"] = "30"
    process = odd.start("poll", "odd:take", "--queue", "local://q", *options)
    try:
        wait_until(lambda: up(port) == 2)
        odd.send(100)
        wait_until(lambda: odd.depth().total == 0)
        wait_until(lambda: starts(port) >= 3)
        wait_until(lambda: counted(port) == 100)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "messages were received (QUEUE_MAX_MESSAGES)" in err


def starts(port: int) -> int:
    lines = (answer(port, "/metrics") or "").splitlines()
    name = "queue_runtime_process_starts_total{"
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_one_process_alone_ends_at_its_limit(odd: Shell) -> None:
    odd.send(5)
    odd.environ["QUEUE_MAX_MEMORY_MB"] = "250"
    done = odd.run("poll", "odd:grow", "--queue", "local://q", "--json")
    assert done.returncode == 0, done.stderr
    assert "MiB of memory are taken (QUEUE_MAX_MEMORY_MB)" in done.stderr
    assert odd.depth().in_flight == 0


def test_an_interpreter_that_is_held_ends_with_all_stacks_where_that_was_asked_for(
    odd: Shell,
) -> None:
    odd.send(1)
    odd.environ["QUEUE_STUCK_SECONDS"] = "1.5"
    done = odd.run("poll", "odd:hold_the_interpreter", "--queue", "local://q", "--json")
    assert done.returncode == 1
    assert "in hold_the_interpreter" in done.stderr


def test_a_signal_is_heard_while_processes_are_started(odd: Shell) -> None:
    process = odd.start("poll", "odd:take", "--queue", "local://q", "--processes", "100")
    pid = process.pid
    wait_until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text())
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert len([event for event in events(out) if event["event"] == "started"]) < 100


def test_more_processes_than_any_machine_has_cores_are_refused(odd: Shell) -> None:
    done = odd.run("poll", "odd:take", "--queue", "local://q", "--processes", "100000")
    assert done.returncode == 2
    assert "at most 256" in done.stderr


def test_a_question_reaches_every_process(odd: Shell) -> None:
    process = odd.start("poll", "odd:take", "--queue", "local://q", "--processes", "2")
    line_of(process, '"started"')
    line_of(process, '"started"')
    # A child answers from its first report on.
    threading.Event().wait(0.5)
    process.send_signal(signal.SIGUSR1)
    threading.Event().wait(0.5)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert err.count("0 messages of q are in flight") == 2
