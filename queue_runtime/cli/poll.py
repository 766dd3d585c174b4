"""`queue-runtime poll`: consumes queues with handlers, in this process or in several."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from queue_runtime.cli import arguments, output
from queue_runtime.cli.consume import Job, consume, health_address, health_port
from queue_runtime.cli.ending import Ending
from queue_runtime.cli.limits import REPLACE_ME, Limits
from queue_runtime.cli.loop import run_to_its_end
from queue_runtime.cli.output import keep_standard_streams
from queue_runtime.cli.processes import run_processes
from queue_runtime.cli.progress import Progress
from queue_runtime.cli.queues import url_of
from queue_runtime.cli.reload import run_again_and_again
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.config.load import refuse_rebinding
from queue_runtime.errors import SettingsError
from queue_runtime.hosts.poller import Until
from queue_runtime.observability.exporters.logs import log_as_json, log_as_text

if TYPE_CHECKING:
    from queue_runtime.config import Settings

_SETTINGS: Final = (
    "concurrency",
    "in_flight",
    "drain_seconds",
    "processes",
    "receive_seconds",
    "health_port",
)
EXAMPLES: Final = (
    "queue-runtime poll functions.orders:take_order --queue local://orders --until-empty",
    "queue-runtime poll functions.orders:take_order --queue sqs://orders --processes 4",
    "queue-runtime poll orders:take_order --app-dir src --reload --traceback",
)
SETTINGS: Final = (
    "queue",
    "provider",
    "dead_letter",
    "max_deliveries",
    "visibility_seconds",
    *_SETTINGS,
    "local_directory",
    "connection_string",
    "logs",
    "metrics",
    "tracebacks",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    arguments.add_target(parser, several=True)
    parser.add_argument(
        "--queue",
        action="append",
        metavar="URL",
        help="where its messages are, such as local://orders; once for each target",
    )
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--once", action="store_true", help="end after one receive")
    ending.add_argument("--until-empty", action="store_true", help="end when the queue is empty")
    arguments.add_config(parser)
    arguments.add_output(parser)
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
    arguments.add_traceback(parser)
    parser.add_argument(
        "--reload",
        action="store_true",
        help="begin anew when a Python file below --app-dir changes; for development",
    )
    # What each of several processes is given by their parent.
    parser.add_argument("--with-parent", metavar="PIPE:ASKS", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Poll until a signal, or until `--once` or `--until-empty` is satisfied."""
    keep_standard_streams()
    if options.reload and not options.with_parent:
        return run_again_and_again(options.app_dir)
    with output.handlers_print_to_stderr():
        jobs = _jobs(options)
        _set_up_logs(options, jobs[0].settings)
        processes = max(job.settings.processes for job in jobs)
        if processes == 1 or options.with_parent:
            return _poll(jobs, options)
    return run_processes(
        processes,
        drain_seconds=max(job.settings.drain_seconds for job in jobs),
        health_port=health_port(jobs),
        health_address=health_address(jobs),
    )


def _poll(jobs: list[Job], options: argparse.Namespace) -> int:
    until = Until.ONCE if options.once else Until.EMPTY if options.until_empty else Until.STOPPED
    progress = Progress(
        as_json=options.json or bool(options.with_parent),
        as_table=options.table and not options.with_parent,
        each=options.each,
        tracebacks=any(job.settings.tracebacks for job in jobs),
    )
    limits = Limits([job.settings for job in jobs])
    with Ending(max(job.settings.drain_seconds for job in jobs)) as ending:
        try:
            run_to_its_end(
                lambda: consume(
                    jobs,
                    until,
                    observe=progress.observe,
                    started=progress.start,
                    stopping=progress.stopping,
                    ending=ending,
                    limits=limits,
                    parent=options.with_parent,
                )
            )
        finally:
            progress.finish()
    return REPLACE_ME if limits.reached and options.with_parent else 0


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
    handler = find_handler(target, options.app_dir)
    said: dict[str, object] = {
        f"--{name.replace('_', '-')}": getattr(options, name) for name in _SETTINGS
    }
    said |= {"--queue": queue, "tracebacks": options.traceback or None}
    settings = load_settings(handler.definition.settings, file=options.config, arguments=said)
    return Job(target, handler, url_of(None, settings, target), settings)
