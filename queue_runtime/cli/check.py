"""`queue-runtime check`: says what would go wrong with a handler on its queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.checks.idempotency import retention_findings
from queue_runtime.cli.output import json_line, line
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from queue_runtime.checks import Finding
    from queue_runtime.config import Settings

FINDINGS = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("target", help="a handler, such as functions.orders:take_order")
    parser.add_argument(
        "--queue", metavar="URL", help="its queue; what sqs://name keeps is asked of SQS"
    )
    parser.add_argument(
        "--queue-retention", type=float, metavar="S", help="how long the queue keeps messages"
    )
    parser.add_argument(
        "--dlq-retention", type=float, metavar="S", help="how long the dead-letter queue does"
    )
    parser.add_argument("--config", metavar="FILE", help="a settings file, TOML or YAML")
    parser.add_argument("--json", action="store_true", help="a JSON line for each finding")


def run(options: argparse.Namespace) -> int:
    """Print findings; exit code 1 where there are any."""
    handler = find_handler(options.target)
    definition = handler.definition
    settings = load_settings(
        definition.settings, file=options.config, arguments={"--queue": options.queue}
    )
    definition.bound(settings)  # an idempotent handler without a store fails here, as at its start
    findings: list[Finding] = []
    if definition.idempotency is not None:
        findings += _idempotency(options, settings)
    for finding in findings:
        if options.json:
            json_line({"target": options.target, **finding._asdict()})
        else:
            line(f"{finding.level}: {options.target}: {finding.text} [{finding.rule}]")
    if not findings and not options.json:
        line(f"{options.target}: nothing found")
    return FINDINGS if findings else 0


def _idempotency(options: argparse.Namespace, settings: Settings) -> Iterator[Finding]:
    queue_seconds, dead_letter_seconds = options.queue_retention, options.dlq_retention
    scheme, _, name = (settings.queue or "").partition("://")
    if scheme == "sqs" and None in (queue_seconds, dead_letter_seconds):
        from queue_runtime.checks.sqs import read_times

        times = read_times(name, settings.aws_region or "us-east-1")
        queue_seconds = times.queue_seconds if queue_seconds is None else queue_seconds
        if dead_letter_seconds is None:
            dead_letter_seconds = times.dead_letter_seconds
    return retention_findings(
        settings.idempotency_retention_seconds,
        queue_seconds=queue_seconds,
        dead_letter_seconds=dead_letter_seconds,
    )
