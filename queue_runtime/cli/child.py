"""One of several processes, as its parent sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING, Final

from queue_runtime.cli.limits import REPLACE_ME
from queue_runtime.cli.reports import Inbox
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller.combined import Combined

# One that ends this soon, this often, would only do so again.
_QUICK_SECONDS: Final = 5.0
_QUICK_ENDS: Final = 3
# A process reports every second; until its first report it loads the handlers.
SILENT_SECONDS: Final = 30.0
_START_SECONDS: Final = 120.0
# What an end may take beyond the drain; then it is killed.
BEYOND_DRAIN_SECONDS: Final = 10.0


class Child:
    """Starts a process, hears its reports, and replaces it where it dies, hangs or is silent.

    A process that has to go is told so by SIGTERM, and killed where it has not ended by
    `drain_seconds` and ten more.
    """

    def __init__(self, number: int, drain_seconds: float, combined: Combined) -> None:
        self.code = 0
        self.given_up = False
        self._number = number
        self._limit = drain_seconds + BEYOND_DRAIN_SECONDS
        self._combined = combined
        self._process: subprocess.Popen[bytes] | None = None
        self._inbox: Inbox | None = None
        self._started = self._heard = 0.0
        self._has_reported = self._replacing = False
        self._told_at: float | None = None
        self._quick_ends = self._told = 0
        self._passed_on: signal.Signals | None = None

    def start(self) -> None:
        """Start this same command as a child."""
        self._started = self._heard = monotonic()
        self._told, self._told_at, self._passed_on = 0, None, None
        self._has_reported = self._replacing = False
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "queue_runtime.cli", *sys.argv[1:]]
        # One of them asks how much is in the queue, for all.
        asks = "1" if self._number == 0 else "0"
        self._process = subprocess.Popen(  # noqa: S603 - our own command line, once more
            [*command, "--with-parent", f"{writing}:{asks}"],
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
            # Signals reach the children through us, or a Ctrl-C would count twice.
            start_new_session=True,
        )
        os.close(writing)
        self._inbox = Inbox(reading)
        self._combined.started(self._number)

    def look(self, *, restart: bool) -> bool:
        """Tell whether there is still something to wait for."""
        if self._process is None:
            return False
        code = self._process.poll()
        self._listen()  # after the look, so that the last word of one that has ended is heard
        if code is None:
            self._keep_in_time(replace=restart)
            return True
        self._let_go()
        if self._passed_on is not None and code == -self._passed_on:
            code = 0  # it was told to end before it had begun
        self.code = 128 - code if code < 0 else code
        is_planned = self._replacing or code == REPLACE_ME
        if is_planned and not restart:
            self.code = 0
        if not restart or (code == 0 and not is_planned):
            return False
        return self._start_again(is_planned=is_planned)

    def tell(self, signals: Sequence[signal.Signals]) -> None:
        """Pass on what came since the last time: the first as it is, a second one kills."""
        if self._process is not None and len(signals) > self._told:
            self._passed_on = signals[0] if len(signals) == 1 else None
            self._process.send_signal(self._passed_on or signal.SIGKILL)
            self._told = len(signals)
            self._told_at = self._told_at or monotonic()

    def ask(self, number: int) -> None:
        """Pass on a signal that ends nothing."""
        if self._process is not None and self._has_reported:
            self._process.send_signal(number)

    def _listen(self) -> None:
        report = self._inbox.newest() if self._inbox is not None else None
        if report is not None:
            self._heard, self._has_reported = monotonic(), True
            self._combined.reported(self._number, report)
            if report["stuck"] and self._told_at is None:
                self._replace(report["stuck"])

    def _keep_in_time(self, *, replace: bool) -> None:
        now = monotonic()
        silent = now - self._heard
        if self._told_at is not None:
            if now - self._told_at > self._limit and self._process is not None:
                text = "process %d has not ended in %.0f s: it is killed"
                events.error(None, "processes", text, self._number + 1, self._limit)
                self._process.kill()
                self._told_at = now
        elif replace and silent > (SILENT_SECONDS if self._has_reported else _START_SECONDS):
            self._replace(f"it has said nothing for {silent:.0f} s")

    def _replace(self, why: str) -> None:
        if self._process is not None:
            text = "process %d is replaced: %s"
            events.error(None, "processes", text, self._number + 1, why)
            self._replacing, self._told_at = True, monotonic()
            self._process.terminate()

    def _let_go(self) -> None:
        if self._process is not None:
            with self._process:  # which closes the pipe
                self._process = None
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
        self._combined.ended(self._number)

    def _start_again(self, *, is_planned: bool) -> bool:
        quick = monotonic() - self._started < _QUICK_SECONDS and not is_planned
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
