"""A real Redis for tests, on a free port, without files, ended by its process."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

import redis

from tests.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a server and give its URL; skip where none is installed (`make system-packages`)."""
    server = program("redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command = [server, *place, "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = monotonic() + 60
    client = redis.Redis(port=port)
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert process.poll() is None, "redis-server ended at once"
            assert monotonic() < ends, "redis-server did not answer"
            sleep(0.02)
    client.close()
