"""`poll --reload`: begins anew when the code has changed, for development."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    Snapshot: TypeAlias = dict[str, tuple[int, int]]

_LOOK_SECONDS: Final = 0.3
# Environments and caches: large, and not what somebody works on.
_SKIPPED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})


def run_again_and_again(folder: str) -> int:
    """Run this same command without `--reload`, anew after each change, until a signal ends it.

    A run that ends by itself, or cannot begin, waits for the next change.
    """
    command = [sys.executable, "-m", "queue_runtime.cli"]
    command += [each for each in sys.argv[1:] if each != "--reload"]
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: signals.append(got))
    while True:
        seen = snapshot(folder)
        # In a group of its own, or a Ctrl-C would reach it twice.
        with subprocess.Popen(command, process_group=0) as child:  # noqa: S603 - our own command
            changed = _wait(child, folder, seen, signals)
            if child.poll() is None:
                child.send_signal(signals[0] if signals else signal.SIGTERM)
                _wait_for_end(child, signals)
        if not changed:
            return child.returncode if child.returncode >= 0 else 128 - child.returncode
        sys.stderr.write(f"queue-runtime poll: {changed} has changed: begun anew\n")


def _wait(child: subprocess.Popen[bytes], folder: str, seen: Snapshot, signals: list[int]) -> str:
    """Give the first file that changed; nothing where a signal came."""
    told = False
    while not signals:
        if changed := difference(seen, snapshot(folder)):
            return changed
        if child.poll() is not None and not told:
            told = True
            sys.stderr.write("queue-runtime poll: it has ended; waiting for a change\n")
        time.sleep(_LOOK_SECONDS)
    return ""


def _wait_for_end(child: subprocess.Popen[bytes], signals: list[int]) -> None:
    passed_on = len(signals)
    while child.poll() is None:
        if len(signals) > passed_on:
            child.kill()
        time.sleep(0.05)


def difference(before: Snapshot, now: Snapshot) -> str:
    """Name a file that came, went or changed; nothing where none did."""
    changed = {name for name, _ in before.items() ^ now.items()}
    return min(changed, default="")


def snapshot(folder: str) -> Snapshot:
    """Give size and time of change of each Python file below a folder."""
    return dict(_files(folder))


def _files(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for root, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in _SKIPPED and each[0] != "."]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(root, name)
                try:
                    found = os.stat(path)
                except OSError:  # it went in this moment
                    continue
                yield os.path.relpath(path, folder), (found.st_mtime_ns, found.st_size)
