"""`queue-runtime check`: says what would go wrong with a handler on its queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from queue_runtime.checks.idempotency import retention_findings, switch_findings
from queue_runtime.cli import arguments, output
from queue_runtime.cli.queues import refuse_missing, url_of
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.config.services import BY_SCHEME
from queue_runtime.transports import open_transport

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from queue_runtime.checks import Finding
    from queue_runtime.config import Settings

FINDINGS: Final = 1
EXAMPLES: Final = (
    "queue-runtime check functions.orders:take_order --queue sqs://orders",
    "queue-runtime check functions.orders:take_order --queue-retention 345600 "
    "--dlq-retention 1209600",
)
SETTINGS: Final = (
    "queue",
    "provider",
    "dead_letter",
    "max_deliveries",
    "visibility_seconds",
    "idempotency",
    "idempotency_store",
    "idempotency_retention_seconds",
    "aws_region",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    arguments.add_target(parser)
    parser.add_argument(
        "--queue", metavar="URL", help="its queue, which is asked; or the one of settings"
    )
    parser.add_argument(
        "--queue-retention",
        type=arguments.seconds(above=True),
        metavar="S",
        help="how long the queue keeps messages; with both, SQS is not asked",
    )
    parser.add_argument(
        "--dlq-retention",
        type=arguments.seconds(above=True),
        metavar="S",
        help="how long the dead-letter queue does",
    )
    arguments.add_config(parser)
    arguments.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Print findings, and what was not looked at; exit code 1 where there are findings.

    Raises:
        SettingsError: the handler would not start.
        TransportError: the queue is not there, or refuses us.
    """
    with output.handlers_print_to_stderr():
        handler = find_handler(options.target, options.app_dir)
        settings = load_settings(
            handler.definition.settings, file=options.config, arguments={"--queue": options.queue}
        )
        # An idempotent handler without a store fails here, as at its start.
        definition = handler.definition.bound(settings)
        look = _Look(options, settings, idempotent=definition.idempotency is not None)
        _print(options, list(look.findings()), look.not_asked)
    return FINDINGS if look.found else 0


class _Look:
    """What is found about one handler and its queue, and why some of it was not looked at.

    Args:
        options: of the command.
        settings: of the handler.
        idempotent: whether it has to be remembered that messages are done.
    """

    def __init__(
        self, options: argparse.Namespace, settings: Settings, *, idempotent: bool
    ) -> None:
        self._settings, self._idempotent = settings, idempotent
        self._kept = (options.queue_retention, options.dlq_retention)
        self.not_asked = ""
        self.found = 0

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after the other."""
        for finding in (*self._of_queue(), *self._of_retention()):
            self.found += 1
            yield finding

    def _of_queue(self) -> Iterator[Finding]:
        if self._settings.queue is None:
            self.not_asked = "no queue was asked, since none is named: give --queue URL"
            return
        if None not in self._kept:
            self.not_asked = "the queue was not asked, since both retentions are given"
            return
        url = url_of(None, self._settings)
        service = BY_SCHEME.get(url.partition("://")[0])
        if service is not None and service.provider == "aws":
            yield from self._of_sqs(url)
        else:
            asyncio.run(_ask(url, self._settings))
            self.not_asked = "the queue is there; how long it keeps messages cannot be asked"

    def _of_sqs(self, url: str) -> Iterator[Finding]:
        from queue_runtime.checks.sqs import queue_findings, read_queue

        times, facts = read_queue(url, self._settings)
        said, said_dead = self._kept
        self._kept = (
            times.queue_seconds if said is None else said,
            times.dead_letter_seconds if said_dead is None else said_dead,
        )
        yield from queue_findings(facts, self._settings)

    def _of_retention(self) -> Iterator[Finding]:
        if self._idempotent:
            yield from switch_findings(self._settings)
            queue_seconds, dead_letter_seconds = self._kept
            yield from retention_findings(
                self._settings.idempotency_retention_seconds,
                queue_seconds=queue_seconds,
                dead_letter_seconds=dead_letter_seconds,
                origin=str(self._settings.origin("idempotency_retention_seconds")),
            )


async def _ask(url: str, settings: Settings) -> None:
    refuse_missing(url, settings)
    transport = open_transport(url, settings=settings)
    try:
        await transport.depth()
    finally:
        await transport.aclose()


def _print(options: argparse.Namespace, findings: list[Finding], not_asked: str) -> None:
    target = options.target
    if output.as_json(options):
        for finding in findings:
            output.json_line({"target": target, **finding._asdict()})
        output.json_line({"target": target, "findings": len(findings), "not_asked": not_asked})
        return
    for finding in findings:
        output.line(f"{finding.level}: {target}: {finding.text} [{finding.rule}]")
    if not findings:
        output.line(f"{target}: nothing found")
    if not_asked:
        output.line(f"{target}: {not_asked}")
