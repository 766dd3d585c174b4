"""Runs `queue-runtime` as a user does: a process, its output, its signals."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queue_runtime.config import load_settings
from queue_runtime.transports import open_transport

if TYPE_CHECKING:
    from queue_runtime.transports.base import Depth

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 45.0

HANDLERS = """
import os, time
from queue_runtime import DeadLetter, Message, queue_handler

@queue_handler
def take(body: dict) -> None:
    if body.get("bad"):
        raise DeadLetter("bad")

@queue_handler
async def take_text(body: str) -> None: ...

@queue_handler
def stuck(message: Message[bytes]) -> None:
    print("running", flush=True)
    time.sleep(60)

@queue_handler
def die(message: Message[bytes]) -> None:
    if message.delivery_count == 1:
        os._exit(9)

def plain(body: dict) -> None: ...
"""


class Shell:
    """A working directory with a module of handlers, and local queues below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "handlers.py").write_text(HANDLERS)
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "QUEUE_LOCAL_DIRECTORY": str(folder / "queues"),
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "queue_runtime.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "queue_runtime.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def send(self, count: int, queue: str = "local://q") -> None:
        lines = "".join(f'{{"n": {n}}}\n' for n in range(count))
        assert self.run("send", "--queue", queue, "--lines", "-", stdin=lines).returncode == 0

    def depth(self, queue: str = "local://q") -> Depth:
        """Count what is in a queue, without a process of its own."""

        async def ask() -> Depth:
            transport = open_transport(queue, settings=load_settings(environ=self.environ))
            depth = await transport.depth()
            await transport.aclose()
            return depth

        return asyncio.run(ask())

    def drain(self, queue: str = "local://q") -> dict[str, Any]:
        done = self.run("poll", "handlers:take", "--queue", queue, "--until-empty", "--json")
        assert done.returncode == 0, done.stderr
        return stopped(done.stdout)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def stopped(text: str) -> dict[str, Any]:
    """Give the closing line of the first target."""
    return next(event for event in events(text) if event["event"] == "stopped")


def line_of(process: subprocess.Popen[str], containing: str) -> str:
    """Read output until a line has something in it.

    Events are on stdout, with their name in quotes; what a handler prints is on stderr.
    """
    stream = process.stdout if containing.startswith('"') else process.stderr
    assert stream is not None
    for line in stream:
        if containing in line:
            return line
    raise AssertionError(f"the process ended without {containing!r}")


def wait_until(condition: Any) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)
