"""`queue-runtime poll` in a process of its own, which is killed or told to end at any moment."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.faults.forked import context, run_cli
from tests.faults.handler import GATE, JOURNAL
from tests.faults.journal import Journal

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

CONCURRENCY = 10
PATIENCE_SECONDS = 45.0
LOOK_SECONDS = 0.005


class Consumer:
    """One process after another on one queue; the last is killed at the end if it still lives."""

    def __init__(self, url: str, environment: Mapping[str, str], folder: Path) -> None:
        self.journal = Journal(folder / "journal")
        self._gate = folder / "gate"
        self._output = folder / "output"
        self._url = url
        self._environment = {
            **environment,
            JOURNAL: str(self.journal.path),
            GATE: str(self._gate),
        }
        self._process: ForkServerProcess | None = None

    def start(
        self, handler: str = "on_loop", *options: str, module: str = "handler", **environment: str
    ) -> None:
        self._output.unlink(missing_ok=True)
        arguments = ["poll", f"tests.faults.{module}:{handler}", "--queue", self._url]
        arguments += ["--json", "--drain-seconds", "0.5", "--concurrency", str(CONCURRENCY)]
        arguments += options
        self._process = context().Process(
            target=run_cli,
            args=(arguments, self._environment | environment, str(self._output)),
            daemon=True,
        )
        self._process.start()

    def hold(self) -> None:
        """Keep handlers from coming to their end."""
        self._gate.touch()

    def let_go(self) -> None:
        self._gate.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        process = self._alive()
        assert process.pid
        return process.pid

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and give the exit code."""
        process = self._alive()
        assert process.pid
        os.kill(process.pid, number)
        process.join(PATIENCE_SECONDS)
        code = process.exitcode
        self.close()
        assert code is not None, f"it did not end: {self.output()}"
        return code

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            process.close()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < ends, f"it made no progress: {self.output()}"
            if self._process is not None:
                self._alive()
            time.sleep(LOOK_SECONDS)

    def has_begun(self) -> bool:
        """Tell whether a handler was called."""
        return bool(self.journal.lines())

    def has_said(self, words: str) -> bool:
        return words in self.output()

    def own_errors(self) -> list[str]:
        """Give what is not the SDK's, which calls a broken connection an error."""
        signs = ('"level":"ERROR","logger":"queue_runtime', '"level":"ERROR","logger":"asyncio')
        return [line for line in self.output().splitlines() if any(map(line.__contains__, signs))]

    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def _alive(self) -> ForkServerProcess:
        assert self._process is not None
        assert self._process.is_alive(), f"it ended by itself: {self.output()}"
        return self._process
