"""`queue-runtime poll`: consumes queues with handlers, in this process or in several."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from queue_runtime.cli.consume import Job, consume, health_port
from queue_runtime.cli.ending import Ending
from queue_runtime.cli.loop import run_to_its_end
from queue_runtime.cli.output import keep_standard_streams
from queue_runtime.cli.processes import run_processes
from queue_runtime.cli.progress import Progress
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.config.load import refuse_rebinding
from queue_runtime.errors import SettingsError
from queue_runtime.hosts.poller import Until
from queue_runtime.observability.exporters.logs import log_as_json, log_as_text
from queue_runtime.transports import queue_url

if TYPE_CHECKING:
    from queue_runtime.config import Settings

_SETTINGS = (
    "concurrency",
    "in_flight",
    "drain_seconds",
    "processes",
    "receive_seconds",
    "health_port",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="target",
        help="a handler, such as functions.orders:take_order",
    )
    parser.add_argument(
        "--queue",
        action="append",
        metavar="URL",
        help="where its messages are, such as local://orders; once for each target",
    )
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--once", action="store_true", help="end after one receive")
    ending.add_argument("--until-empty", action="store_true", help="end when the queue is empty")
    parser.add_argument("--config", metavar="FILE", help="a settings file, TOML or YAML")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="JSON lines even at a terminal")
    shown.add_argument("--table", action="store_true", help="a table even without a terminal")
    parser.add_argument(
        "--quiet", action="store_true", help="no log lines about messages on stderr"
    )
    parser.add_argument(
        "--log-level",
        choices=("trace", "debug", "info", "warning", "error"),
        default="warning",
        help="the least severe lines on stderr; info has a line for each message (warning)",
    )
    parser.add_argument("--each", action="store_true", help="print a JSON line for each message")
    parser.add_argument("--concurrency", metavar="N", help="calls of the handler at a time (10)")
    parser.add_argument("--in-flight", metavar="N", help="messages held at a time (200)")
    parser.add_argument("--receive-seconds", metavar="S", help="how long a receive waits (30)")
    parser.add_argument("--drain-seconds", metavar="S", help="what handlers get at the end (25)")
    parser.add_argument("--processes", metavar="N", help="whole pollers side by side (1)")
    parser.add_argument(
        "--health-port", metavar="PORT", help="answer /health/live and others there (0, off)"
    )
    # What each of several processes is given by their parent.
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Poll until a signal, or until `--once` or `--until-empty` is satisfied."""
    keep_standard_streams()
    jobs = _jobs(options)
    _set_up_logs(options, jobs[0].settings)
    processes = max(job.settings.processes for job in jobs)
    if processes > 1 and not options.with_parent:
        return run_processes(processes, health_port(jobs))
    until = Until.ONCE if options.once else Until.EMPTY if options.until_empty else Until.STOPPED
    as_json = options.json or options.with_parent
    as_table = options.table and not options.with_parent
    progress = Progress(as_json=as_json, as_table=as_table, each=options.each)
    with Ending(max(job.settings.drain_seconds for job in jobs)) as ending:
        try:
            run_to_its_end(
                lambda: consume(
                    jobs,
                    until,
                    observe=progress.observe,
                    started=progress.start,
                    ending=ending,
                    with_parent=options.with_parent,
                )
            )
        finally:
            progress.finish()
    return 0


def _set_up_logs(options: argparse.Namespace, settings: Settings) -> None:
    level = "CRITICAL" if options.quiet else options.log_level.upper()
    if options.json or options.with_parent or settings.logs == "json" or not sys.stderr.isatty():
        # Where no person looks a program does, such as the one that collects a container's lines.
        log_as_json(level, info_lines=settings.info_lines)
    else:
        log_as_text(level)


def _jobs(options: argparse.Namespace) -> list[Job]:
    queues = options.queue or [None] * len(options.targets)
    if len(queues) != len(options.targets):
        raise SettingsError(
            f"{len(options.targets)} targets and {len(queues)} --queue: give one for each target, "
            "in the same order, or none where the handlers say theirs"
        )
    jobs = [
        _job(target, queue, options) for target, queue in zip(options.targets, queues, strict=True)
    ]
    refuse_rebinding(
        (j.target, j.handler.definition.settings.get("queue"), j.settings) for j in jobs
    )
    return jobs


def _job(target: str, queue: str | None, options: argparse.Namespace) -> Job:
    handler = find_handler(target)
    arguments: dict[str, object] = {
        f"--{name.replace('_', '-')}": getattr(options, name) for name in _SETTINGS
    }
    settings = load_settings(
        handler.definition.settings, file=options.config, arguments={**arguments, "--queue": queue}
    )
    return Job(target, handler, _url(target, settings), settings)


def _url(target: str, settings: Settings) -> str:
    if settings.queue is None:
        raise SettingsError(
            f"{target} has no queue: give --queue URL, set QUEUE_NAME, or write "
            "@queue_handler(queue=...)"
        )
    return queue_url(settings.queue, settings)
