"""`queue-runtime invoke`: a serverless host over an event file, with no cloud behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queue_runtime.cli import fates, output
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.errors import EventError
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.testing.events import lambda_context

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from queue_runtime.handler import Handler
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("target", help="the handler, such as functions.orders:take_order")
    parser.add_argument(
        "event", type=Path, help="a JSON file: an SQS event as Lambda gives it, or see --azure"
    )
    parser.add_argument(
        "--azure",
        action="store_true",
        help="the file is a list of Service Bus messages: run the Azure Functions host over it",
    )
    parser.add_argument(
        "--sessions", action="store_true", help="with --azure: as if from a queue with sessions"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="time that the invocation has (30)"
    )
    parser.add_argument(
        "--dead-letter", metavar="QUEUE", help="pretend that this dead-letter queue is there"
    )


def run(options: argparse.Namespace) -> int:
    """Run the handler for real; what it would do to the queue is shown and not done."""
    handler = find_handler(options.target)
    return _on_azure(handler, options) if options.azure else _on_lambda(handler, options)


def _on_azure(handler: Handler[Any, Any], options: argparse.Namespace) -> int:
    from queue_runtime.testing.azure import azure_fates, read_azure_messages

    messages = read_azure_messages(options.event)
    seen = azure_fates(handler, messages, sessions=options.sessions, seconds=options.seconds)
    _show(options, seen, {}, fates.summary([outcome for _, outcome in seen]))
    return 0


def _on_lambda(handler: Handler[Any, Any], options: argparse.Namespace) -> int:
    event = _read(options.event)
    seen: list[tuple[Message[Any], Outcome]] = []
    settings = load_settings(
        handler.definition.settings, arguments={"dead_letter": options.dead_letter}
    )
    host = LambdaHost(
        handler,
        settings=settings,
        clients=_NoQueue,
        observe=lambda messages, outcomes: seen.extend(zip(messages, outcomes, strict=True)),
    )
    reply = host(event, lambda_context(seconds=options.seconds))
    summary = fates.summary([outcome for _, outcome in seen])
    _show(options, seen, {"reply": reply}, f"{summary}; Lambda is told: {json.dumps(reply)}")
    return 0


def _show(
    options: argparse.Namespace,
    seen: Sequence[tuple[Message[Any], Outcome]],
    more: dict[str, Any],
    summary: str,
) -> None:
    if options.json:
        messages = [fates.record(message, outcome) for message, outcome in seen]
        output.line(json.dumps({"messages": messages, **more}, indent=2))
        return
    output.table(str(options.event), fates.COLUMNS, [fates.row(*pair) for pair in seen])
    output.line(f"  {summary}")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise EventError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise EventError(f"{path} is not JSON: {error}") from None


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
