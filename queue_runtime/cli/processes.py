"""`--processes N`: whole pollers side by side, for handlers that need more than one core."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import Final

from queue_runtime.cli.child import Child
from queue_runtime.cli.ending import SIGNALS
from queue_runtime.hosts.poller.combined import Combined
from queue_runtime.hosts.poller.health import HealthServer

_LOOK_SECONDS: Final = 0.1


def run_processes(
    count: int, *, drain_seconds: float, health_port: int = 0, health_address: str | None = None
) -> int:
    """Run this same command in `count` processes; one that crashes or hangs is started again.

    A signal is passed on, and a second one kills. Children watch a pipe from here, so that they
    end cleanly even where this process is killed. The health port is here, and answers for all.

    Raises:
        SettingsError: the health port cannot be used.
    """
    combined = Combined(count)
    family = _Family([Child(number, drain_seconds, combined) for number in range(count)])
    with ExitStack() as stack:
        if health_port:
            server = HealthServer(health_port, combined, host=health_address)
            stack.callback(server.close)
        return family.run()


class _Family:
    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._signals: list[signal.Signals] = []
        self._questions = 0

    def run(self) -> int:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGUSR1, self._on_question)
        for child in self._children:
            if not self._signals:  # else it would only be told to end
                child.start()
        while self._look():
            time.sleep(_LOOK_SECONDS)
        return max(child.code for child in self._children)

    def _look(self) -> bool:
        # Told here and not where the signal comes, which may be while a child is being started.
        for child in self._children:
            child.tell(self._signals)
            if self._questions:
                child.ask(signal.SIGUSR1)
        self._questions = 0
        # All of them each time: one that crashes is started again whatever the others do.
        alive = [child.look(restart=not self._signals) for child in self._children]
        if any(child.given_up for child in self._children) and not self._signals:
            self._signals.append(signal.SIGTERM)  # half a service looks like a whole one
        return any(alive)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals.append(signal.Signals(number))

    def _on_question(self, _number: int, _frame: object) -> None:
        self._questions += 1
