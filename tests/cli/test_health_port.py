"""The health port of real processes."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.cli.shell import wait_until

if TYPE_CHECKING:
    from tests.cli.shell import Shell


def two_free_ports() -> int:
    """Find a port that is free together with the one after it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


def answer(port: int, path: str) -> Any:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return json.load(reply)
    except URLError:
        return None


def test_each_process_has_a_port_of_its_own(shell: Shell) -> None:
    port = two_free_ports()
    options = ("--processes", "2", "--health-port", str(port))
    process = shell.start("poll", "handlers:take", "--queue", "local://q", *options)
    try:
        for each in (port, port + 1):
            wait_until(lambda each=each: answer(each, "/health/ready") is not None)
            assert answer(each, "/health/live")["live"]
            assert answer(each, "/stats")["queues"][0]["queue"] == "q"
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_sentence(shell: Shell) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell.run("poll", "handlers:take", "--queue", "local://q", "--health-port", port)
    assert done.returncode == 2
    assert f"the health port {port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
