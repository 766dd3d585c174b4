"""Shows how pollers get on: a live table for a person, a JSON line a second for a program."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.cli import fates, output, tracebacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from queue_runtime.cli.consume import Job
    from queue_runtime.hosts.poller import Poller
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome

_EVERY: Final = 1.0
_REDRAW: Final = 0.2
_NUMBERS: Final = ("received", "completed", "retried", "dead_lettered", "returned", "held")
# More reasons than a person reads are summed up, so that a long run's memory stays flat.
_MOST_REASONS: Final = 50


class Progress:
    """What the pollers of one process have done, counted by fate and reason.

    Args:
        as_json: JSON lines even at a terminal.
        as_table: the closing table even without one.
        each: a JSON line for each message as well.
        tracebacks: what a handler raised, whole, on stderr.
    """

    def __init__(
        self, *, as_json: bool, as_table: bool, each: bool, tracebacks: bool = False
    ) -> None:
        self._screen = None if as_json else output.console()
        self._as_lines = self._screen is None and not as_table
        self._each = each
        self._lines_out = output.Lines()
        self._tracebacks = tracebacks
        self._fates: Counter[tuple[str, str]] = Counter()
        self._started = monotonic()
        self._running: Sequence[tuple[Job, Poller]] = ()

    def observe(self, job: Job, message: Message[Any], outcome: Outcome) -> None:
        """Count one message's fate."""
        kind = fates.fate(outcome).split(" in ")[0]
        key = (kind, outcome.reason)
        if key not in self._fates and len(self._fates) >= _MOST_REASONS:
            key = (kind, "(other reasons)")
        self._fates[key] += 1
        if self._tracebacks and outcome.error is not None:
            with suppress(OSError):
                tracebacks.show(outcome.error, as_json=not sys.stderr.isatty())
        if self._each:
            line = {"event": "message", "target": job.target, **fates.record(message, outcome)}
            self._lines_out.json_line(line)

    def start(self, running: Sequence[tuple[Job, Poller]]) -> asyncio.Task[None]:
        """Begin to show."""
        self._running = running
        if self._tracebacks:
            tracebacks.warn()
        if self._screen is not None:
            return asyncio.create_task(self._live(self._screen))
        return asyncio.create_task(self._lines() if self._as_lines else self._nothing())

    def stopping(self) -> None:
        """Say that a signal has begun the end, what is still under way, and for how long."""
        if self._as_lines:
            self._line("stopping")
        if not sys.stderr.isatty():
            return
        held = sum(poller.stats.held for _, poller in self._running)
        seconds = max((job.settings.drain_seconds for job, _ in self._running), default=0.0)
        with suppress(OSError):
            sys.stderr.write(
                f"stopping: {output.plural(held, 'message')} under way, which have {seconds:g} s; "
                "again to end at once\n"
            )

    def finish(self) -> None:
        """Show the totals, and every fate with its reason; nothing where nothing has begun."""
        if not self._running:
            return
        if self._as_lines:
            self._line("stopped")
            for (kind, reason), count in self._sorted():
                self._lines_out.json_line(
                    {"event": "fate", "fate": kind, "reason": reason, "messages": count}
                )
            return
        rows = [(kind, str(count), reason) for (kind, reason), count in self._sorted()]
        seconds = max(monotonic() - self._started, 0.001)
        total = sum(self._fates.values())
        rate = f"{total / seconds:,.0f} a second"
        title = f"{output.plural(total, 'delivery')} in {seconds:.1f} s ({rate})"
        self._lines_out.carefully(output.table, title, ("fate", "messages", "reason"), rows)

    def _sorted(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self._fates.items(), key=lambda item: (item[0][0], -item[1]))

    async def _lines(self) -> None:
        self._line("started")
        while True:
            await asyncio.sleep(_EVERY)
            self._line("progress")

    async def _nothing(self) -> None:
        await asyncio.Event().wait()

    def _line(self, event: str) -> None:
        for job, poller in self._running:
            self._lines_out.json_line(
                {
                    "event": event,
                    "target": job.target,
                    "queue": job.url,
                    "seconds": round(monotonic() - self._started, 3),
                    **poller.stats.as_dict(),
                }
            )

    async def _live(self, screen: Console) -> None:
        from rich.live import Live

        try:
            with Live(console=screen, refresh_per_second=5, transient=True) as live:
                while True:
                    live.update(self._table())
                    await asyncio.sleep(_REDRAW)
        except OSError:  # the terminal is gone, and what polls is not
            await self._nothing()

    def _table(self) -> Any:
        # A column for each handler: a row of so many numbers would not fit a narrow terminal.
        from rich import box
        from rich.table import Table

        drawn = Table(box=box.SIMPLE_HEAD)
        drawn.add_column("")
        for job, _ in self._running:
            drawn.add_column(f"{job.target}\n{job.url}", justify="right", overflow="fold")
        seconds = max(monotonic() - self._started, 0.001)
        stats = [poller.stats.as_dict() for _, poller in self._running]
        for name in _NUMBERS:
            drawn.add_row(name.replace("_", "-"), *(f"{numbers[name]:,}" for numbers in stats))
        rates = (f"{numbers['received'] / seconds:,.0f}" for numbers in stats)
        drawn.add_row("received a second", *rates)
        return drawn
