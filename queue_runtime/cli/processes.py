"""`--processes N`: whole pollers side by side, for handlers that need more than one core."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Sequence

# One that ends this soon, this often, would only do so again.
_QUICK_SECONDS: Final = 5.0
_QUICK_ENDS: Final = 3
_LOOK_SECONDS: Final = 0.1


def run_processes(count: int, health_port: int = 0) -> int:
    """Run this same command in `count` processes; one that crashes is started again.

    The first has the health port, the second the next port, and so on: each is stuck for itself.

    A signal is passed on, and a second one kills. Children watch a pipe from here, so that they
    end cleanly even where this process is killed.
    """
    return _Family(count, health_port).run()


class _Family:
    def __init__(self, count: int, health_port: int) -> None:
        ports = [health_port + at if health_port else 0 for at in range(count)]
        self._children = [_Child(port) for port in ports]
        self._signals: list[signal.Signals] = []

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for child in self._children:
            child.start()
        while self._look():
            time.sleep(_LOOK_SECONDS)
        return max(child.code for child in self._children)

    def _look(self) -> bool:
        # Told here and not where the signal comes, which may be while a child is being started.
        for child in self._children:
            child.tell(self._signals)
        # All of them each time: one that crashes is started again whatever the others do.
        alive = [child.look(restart=not self._signals) for child in self._children]
        if any(child.given_up for child in self._children) and not self._signals:
            self._signals.append(signal.SIGTERM)  # half a service looks like a whole one
        return any(alive)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals.append(signal.Signals(number))


class _Child:
    def __init__(self, health_port: int) -> None:
        self.code = 0
        self._health = ["--health-port", str(health_port)] if health_port else []
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._quick_ends = self._told = 0
        self._passed_on: signal.Signals | None = None
        self.given_up = False

    def start(self) -> None:
        command = [sys.executable, "-m", "queue_runtime.cli", *sys.argv[1:]]
        self._started, self._told = time.monotonic(), 0
        self._process = subprocess.Popen(  # noqa: S603 - our own command line, once more
            [*command, "--with-parent", *self._health],
            stdin=subprocess.PIPE,
            # Signals reach the children through us, or a Ctrl-C would count twice.
            start_new_session=True,
        )

    def look(self, *, restart: bool) -> bool:
        """Tell whether there is still something to wait for."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        with self._process:  # which closes the pipe
            self._process = None
        if self._passed_on is not None and code == -self._passed_on:
            code = 0  # it was told to end before it had begun
        self.code = 128 - code if code < 0 else code
        if code == 0 or not restart:
            return False
        return self._start_again()

    def tell(self, signals: Sequence[signal.Signals]) -> None:
        """Pass on what came since the last time: the first as it is, a second one kills."""
        if self._process is not None and len(signals) > self._told:
            self._passed_on = signals[0] if len(signals) == 1 else None
            self._process.send_signal(self._passed_on or signal.SIGKILL)
            self._told = len(signals)

    def _start_again(self) -> bool:
        quick = time.monotonic() - self._started < _QUICK_SECONDS
        self._quick_ends = self._quick_ends + 1 if quick else 0
        if self._quick_ends >= _QUICK_ENDS:
            text = "a process ended with %d again and again: all are ended"
            events.error(None, "processes", text, self.code)
            self.given_up = True
            return False
        events.warning(None, "processes", "a process ended with %d: started again", self.code)
        self.code = 0
        self.start()
        return True
