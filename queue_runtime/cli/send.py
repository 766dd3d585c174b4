"""`queue-runtime send`: puts messages into a queue from an argument, a file or a pipe."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from queue_runtime.cli import arguments, output
from queue_runtime.cli.queues import refuse_memory, url_of
from queue_runtime.config import load_settings
from queue_runtime.errors import SettingsError, TransportError
from queue_runtime.sending.observed_send import send_observed
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from queue_runtime.config import Settings
    from queue_runtime.transports.base import Transport


EXAMPLES: Final = (
    """queue-runtime send --queue local://orders '{"id": "order-1", "amount": 12}'""",
    "queue-runtime send --queue sqs://orders.fifo --group-id c-7 --file order.json",
    "queue-runtime send --queue servicebus://shop/orders --lines orders.jsonl --delay 60",
)
SETTINGS: Final = ("queue", "provider", "local_directory", "connection_string", "aws_region")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("body", nargs="?", help="one message's body, as it is")
    source = parser.add_mutually_exclusive_group()
    file = source.add_argument(
        "--file", metavar="FILE", help="a file whose whole content is one body"
    )
    lines = source.add_argument(
        "--lines",
        metavar="FILE",
        help="a file with a body on each line, such as JSON lines; - is stdin, which is read "
        "where nothing else is given and it is no terminal",
    )
    for argument in (file, lines):
        arguments.complete_by("file", argument)
    parser.add_argument(
        "--queue", metavar="URL", help="such as local://orders; or the one of settings"
    )
    _add_properties(parser)
    arguments.add_config(parser)
    arguments.add_output(parser)


def _add_properties(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group-id", metavar="ID", help="message group or session")
    parser.add_argument(
        "--correlation-id", metavar="ID", help="what ties the messages to others of one matter"
    )
    parser.add_argument(
        "--deduplication-id",
        metavar="ID",
        help="what the queue knows a repeated send by; of several messages, the start of it",
    )
    parser.add_argument(
        "--delay",
        type=arguments.seconds(),
        default=0.0,
        metavar="S",
        help="seconds until due",
    )
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    """Send everything; what was not accepted is named, and gives exit code 1."""
    settings = load_settings(file=options.config)
    url = url_of(options.queue, settings)
    refuse_memory(url, settings)
    sending = _Sending(options, url)
    # asyncio's own handler only cancels, which nobody hears of while stdin is waited for.
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        asyncio.run(sending.send(settings))
    except KeyboardInterrupt:
        _complain(f"interrupted: {sending.progress()}")
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    failed = sending.failed
    if output.as_json(options):
        output.json_line({"queue": url, "sent": sending.sent, "failed": len(failed)})
    else:
        output.line(f"{output.plural(sending.sent, 'message')} sent to {url}")
    for position, error in failed[:10]:
        _complain(f"message {position + 1}: {error}")
    return 1 if failed else 0


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _complain(text: str) -> None:
    sys.stderr.write(f"queue-runtime send: {text}\n")


class _Sending:
    """One run of the command, which always knows how far it has come."""

    def __init__(self, options: argparse.Namespace, url: str) -> None:
        self._options, self._url = options, url
        self._attributes = dict(_attribute(text) for text in options.attribute)
        self._under_way = 0
        self.sent = 0
        self.failed: list[tuple[int, TransportError]] = []

    async def send(self, settings: Settings) -> None:
        """Send chunk by chunk.

        Raises:
            TransportError: the queue cannot be used; says how many had been sent.
        """
        transport = open_transport(self._url, settings=settings)
        try:
            with _bar(self._options) as advance:
                for start, bodies in _chunks(_bodies(self._options), transport.batch_size):
                    await self._send(transport, start, bodies, settings)
                    advance(len(bodies))
        finally:
            await transport.aclose()

    def progress(self) -> str:
        """Say how many were sent, and of how many that is not known."""
        said = f"{output.plural(self.sent, 'message')} had been sent"
        if self._under_way:
            said += f", and {self._under_way:,} more may have been"
        return said

    async def _send(
        self, transport: Transport, start: int, bodies: list[str | bytes], settings: Settings
    ) -> None:
        messages = [self._message(body, start + at) for at, body in enumerate(bodies)]
        self._under_way = len(messages)
        try:
            results = await send_observed(transport, messages, settings)
        except TransportError as error:
            if not self.sent:
                raise
            # So that whoever tries again knows where to go on.
            self._under_way = 0
            raise TransportError(f"{error} ({self.progress()})") from error
        self._under_way = 0
        errors = refused(results)
        self.failed += [(start + position, error) for position, error in errors.items()]
        self.sent += len(messages) - len(errors)

    def _message(self, body: str | bytes, position: int) -> OutgoingMessage:
        options = self._options
        deduplication_id = options.deduplication_id
        if deduplication_id is not None and position:
            deduplication_id = f"{deduplication_id}-{position + 1}"
        return OutgoingMessage(
            body=body,
            attributes=self._attributes,
            group_id=options.group_id,
            correlation_id=options.correlation_id,
            deduplication_id=deduplication_id,
            delay=options.delay,
        )


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


def _bar(options: argparse.Namespace) -> AbstractContextManager[Any]:
    screen = None if output.as_json(options) else output.console()
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
