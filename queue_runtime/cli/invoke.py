"""`queue-runtime invoke`: a serverless host over an event file, with no cloud behind it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.cli import arguments, fates, output, tracebacks
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.errors import EventError, SettingsError
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.testing.events import lambda_context

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from queue_runtime.config import Settings
    from queue_runtime.handler import Handler
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


EXAMPLES: Final = (
    "queue-runtime invoke functions.orders:take_order functions/events/standard.json",
    "queue-runtime invoke --azure functions.orders:take_order functions/events/azure/messages.json",
    "queue-runtime invoke functions.orders:take_order - < event.json",
)
SETTINGS: Final = ("dead_letter", "max_deliveries", "idempotency_store", "tracebacks")
_STDIN: Final = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    arguments.add_target(parser)
    event = parser.add_argument(
        "event",
        type=Path,
        help="a JSON file, or - for stdin: an SQS event as Lambda gives it, or see --azure",
    )
    arguments.complete_by("file", event)
    parser.add_argument(
        "--azure",
        action="store_true",
        help="the file is a list of Service Bus messages: run the Azure Functions host over it",
    )
    parser.add_argument(
        "--sessions", action="store_true", help="with --azure: as if from a queue with sessions"
    )
    arguments.add_output(parser)
    parser.add_argument(
        "--seconds",
        type=arguments.seconds(above=True),
        default=30.0,
        metavar="S",
        help="time that the invocation has (30)",
    )
    parser.add_argument(
        "--dead-letter", metavar="QUEUE", help="pretend that this dead-letter queue is there"
    )
    arguments.add_config(parser)
    arguments.add_traceback(parser)


def run(options: argparse.Namespace) -> int:
    """Run the handler for real; what it would do to the queue is shown and not done."""
    if options.sessions and not options.azure:
        raise SettingsError("--sessions goes with --azure: in an SQS event the queue's name tells")
    with output.handlers_print_to_stderr():
        handler = find_handler(options.target, options.app_dir)
        settings = load_settings(
            handler.definition.settings,
            file=options.config,
            arguments={
                "dead_letter": options.dead_letter,
                "tracebacks": options.traceback or None,
            },
        )
        show = _Shown(options, tracebacks=settings.tracebacks)
        settings = settings.replace(tracebacks=False)  # the hosts below have none
        run_on = _on_azure if options.azure else _on_lambda
        run_on(handler, settings, options, show)
    return 0


def _on_azure(
    handler: Handler[Any, Any], settings: Settings, options: argparse.Namespace, show: _Shown
) -> None:
    from queue_runtime.testing.azure import azure_fates, azure_messages

    messages = azure_messages(_read(options.event), _name(options.event))
    if options.sessions:
        handler.definition.refuse_order(settings.queue or "a queue with sessions")
    seen = azure_fates(
        handler, messages, sessions=options.sessions, settings=settings, seconds=options.seconds
    )
    show(seen, {}, "")


def _on_lambda(
    handler: Handler[Any, Any], settings: Settings, options: argparse.Namespace, show: _Shown
) -> None:
    event = _read(options.event)
    seen: list[tuple[Message[Any], Outcome]] = []
    host = LambdaHost(
        handler,
        settings=settings,
        clients=_NoQueue,
        observe=lambda messages, outcomes: seen.extend(zip(messages, outcomes, strict=True)),
    )
    reply = host(event, lambda_context(seconds=options.seconds))
    show(seen, {"reply": reply}, f"; Lambda is told: {json.dumps(reply)}")


class _Shown:
    """Prints what became of messages, as it was asked for."""

    def __init__(self, options: argparse.Namespace, *, tracebacks: bool) -> None:
        self._title = _name(options.event)
        self._as_json = output.as_json(options)
        self._tracebacks = tracebacks

    def __call__(
        self, seen: Sequence[tuple[Message[Any], Outcome]], more: dict[str, Any], told: str
    ) -> None:
        if self._tracebacks:
            tracebacks.warn()
            for _, outcome in seen:
                if outcome.error is not None:
                    tracebacks.show(outcome.error)
        summary = fates.summary([outcome for _, outcome in seen])
        if self._as_json:
            messages = [fates.record(message, outcome) for message, outcome in seen]
            output.json_line({"messages": messages, "summary": summary, **more})
            return
        output.table(self._title, fates.COLUMNS, [fates.row(*pair) for pair in seen])
        output.line(f"  {summary}{told}")


def _name(path: Path) -> str:
    return "stdin" if path == _STDIN else str(path)


def _read(path: Path) -> Any:
    try:
        content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    except OSError as error:
        raise EventError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return json.loads(content)
    except RecursionError:
        raise EventError(f"{_name(path)} is nested too deeply to be an event") from None
    except ValueError as error:
        raise EventError(f"{_name(path)} is not JSON: {error}") from None


class _NoQueue:
    """Stands where an SQS client would: every delay and dead-letter is taken, none goes out."""

    class _Meta:
        endpoint_url = "https://no-queue.invalid"

    meta = _Meta()

    def __init__(self, region: str) -> None:
        self.region = region

    def change_message_visibility_batch(self, **request: Any) -> dict[str, Any]:
        return _all_done(request["Entries"])

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        return _all_done(request["Entries"])


def _all_done(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}
