"""`--processes N`: whole pollers side by side, for handlers that need more than one core."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from logging import getLogger
from typing import Final

logger = getLogger("queue_runtime")

# One that ends this soon, this often, would only do so again.
_QUICK_SECONDS: Final = 5.0
_QUICK_ENDS: Final = 3
_LOOK_SECONDS: Final = 0.1


def run_processes(count: int) -> int:
    """Run this same command in `count` processes; one that crashes is started again.

    A signal is passed on, and a second one kills. Children watch a pipe from here, so that they
    end cleanly even where this process is killed.
    """
    return _Family(count).run()


class _Family:
    def __init__(self, count: int) -> None:
        self._children = [_Child() for _ in range(count)]
        self._signals = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for child in self._children:
            child.start()
        while any(child.look(restart=not self._signals) for child in self._children):
            time.sleep(_LOOK_SECONDS)
        return max(child.code for child in self._children)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals += 1
        for child in self._children:
            child.tell(signal.Signals(number) if self._signals == 1 else signal.SIGKILL)


class _Child:
    def __init__(self) -> None:
        self.code = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._quick_ends = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "queue_runtime.cli", *sys.argv[1:]]
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own command line, once more
            [*command, "--processes", "1", "--with-parent", "--json"],
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
        self._process = None
        self.code = 128 - code if code < 0 else code
        if code == 0 or not restart:
            return False
        return self._start_again()

    def tell(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _start_again(self) -> bool:
        quick = time.monotonic() - self._started < _QUICK_SECONDS
        self._quick_ends = self._quick_ends + 1 if quick else 0
        if self._quick_ends >= _QUICK_ENDS:
            logger.error("a process ended with %d again and again: given up", self.code)
            return False
        logger.warning("a process ended with %d: started again", self.code)
        self.code = 0
        self.start()
        return True
