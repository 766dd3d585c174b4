"""`queue-runtime send`: puts messages into a queue from an argument, a file or a pipe."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO

from queue_runtime.cli import output
from queue_runtime.config import load_settings
from queue_runtime.errors import SettingsError, TransportError
from queue_runtime.sending.observed_send import send_observed
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("body", nargs="?", help="one message's body, as it is")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--file", metavar="FILE", help="a file whose whole content is one body")
    source.add_argument(
        "--lines",
        metavar="FILE",
        help="a file with a body on each line, such as JSON lines; - is stdin",
    )
    parser.add_argument("--queue", required=True, metavar="URL", help="such as local://orders")
    parser.add_argument("--group-id", metavar="ID", help="message group or session")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="seconds until due")
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )
    parser.add_argument("--config", metavar="FILE", help="a settings file, TOML or YAML")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a sentence")


def run(options: argparse.Namespace) -> int:
    """Send everything; what was not accepted is named, and gives exit code 1."""
    sent, failed = asyncio.run(_send(options))
    if options.json or not sys.stdout.isatty():
        output.json_line({"queue": options.queue, "sent": sent, "failed": len(failed)})
    else:
        output.line(f"{sent:,} messages sent to {options.queue}")
    for position, error in failed[:10]:
        print(f"queue-runtime send: message {position + 1}: {error}", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


async def _send(options: argparse.Namespace) -> tuple[int, list[tuple[int, TransportError]]]:
    attributes = dict(_attribute(text) for text in options.attribute)
    settings = load_settings(file=options.config)
    transport = open_transport(options.queue, settings=settings)
    sent, failed = 0, []
    try:
        with _bar() as advance:
            for start, bodies in _chunks(_bodies(options), transport.batch_size):
                messages = [
                    OutgoingMessage(
                        body=body,
                        attributes=attributes,
                        group_id=options.group_id,
                        delay=options.delay,
                    )
                    for body in bodies
                ]
                try:
                    results = await send_observed(transport, messages, settings)
                except TransportError as error:
                    if not sent:
                        raise
                    # So that whoever tries again knows where to go on.
                    raise TransportError(f"{error} ({sent:,} messages had been sent)") from error
                errors = refused(results)
                failed += [(start + position, error) for position, error in errors.items()]
                sent += len(messages) - len(errors)
                advance(len(messages))
    finally:
        await transport.aclose()
    return sent, failed


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SettingsError(f"--attribute {text!r}: write NAME=VALUE")
    return name, value


def _bodies(options: argparse.Namespace) -> Iterator[str | bytes]:
    if options.body is not None:
        if options.file or options.lines:
            raise SettingsError("give a body, --file or --lines, not two of them")
        yield options.body
    elif options.file:
        with _open(options.file) as file:
            yield file.read()
    elif options.lines not in (None, "-"):
        with _open(options.lines) as file:
            yield from _lines(file)
    elif options.lines == "-" or not sys.stdin.isatty():
        yield from _lines(sys.stdin.buffer)
    else:
        raise SettingsError("nothing to send: give a body, --file, --lines, or pipe lines in")


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _lines(file: Iterable[bytes]) -> Iterator[bytes]:
    for line in file:
        body = line.strip()
        if body:
            yield body


def _chunks(bodies: Iterator[str | bytes], size: int) -> Iterator[tuple[int, list[str | bytes]]]:
    position, chunk = 0, []
    for body in bodies:
        chunk.append(body)
        if len(chunk) == size:
            yield position, chunk
            position, chunk = position + len(chunk), []
    if chunk:
        yield position, chunk


def _bar() -> AbstractContextManager[Any]:
    screen = output.console()
    return nullcontext(lambda _count: None) if screen is None else _RichBar(screen)


class _RichBar:
    def __init__(self, screen: Any) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.completed:,} sent"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=screen, transient=True)
        self._task = self._progress.add_task("send", total=None)

    def __enter__(self) -> Any:
        self._progress.start()
        return lambda count: self._progress.advance(self._task, count)

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
