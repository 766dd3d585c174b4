"""`queue-runtime stats`: how much is in queues, for an operator's eyes or for a program."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.cli import arguments, output
from queue_runtime.cli.queues import refuse_missing, url_of
from queue_runtime.config import load_settings
from queue_runtime.errors import QueueNotFoundError, TransportError
from queue_runtime.transports import open_transport

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from rich.console import Console

    from queue_runtime.config import Settings
    from queue_runtime.transports.base import Depth, Transport

    Queues: TypeAlias = Mapping[str, Transport | TransportError]

COLUMNS: Final = ("queue", "visible", "in flight", "delayed", "dead-lettered", "oldest", "")
EXAMPLES: Final = (
    "queue-runtime stats local://orders",
    "queue-runtime stats sqs://orders servicebus://shop/orders --watch",
    "queue-runtime stats --queue local://orders --json",
)
SETTINGS: Final = ("queue", "provider", "local_directory", "connection_string", "aws_region")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="such as local://orders; or the one of settings"
    )
    parser.add_argument(
        "--queue", action="append", default=[], metavar="URL", help="the same; may be repeated"
    )
    arguments.add_config(parser)
    parser.add_argument(
        "--watch", action="store_true", help="look again and again until it is interrupted"
    )
    parser.add_argument(
        "--every",
        type=arguments.seconds(above=True),
        default=2.0,
        metavar="S",
        help="seconds between two looks (2)",
    )
    arguments.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Show all queues; one that cannot be asked is named, and gives exit code 1."""
    return asyncio.run(_show(options))


async def _show(options: argparse.Namespace) -> int:
    settings = load_settings(file=options.config)
    said = [*options.queues, *options.queue] or [None]
    urls = [url_of(queue, settings) for queue in said]
    queues = {url: _open(url, settings) for url in urls}
    as_json = output.as_json(options)
    screen = None if as_json else output.console()
    try:
        if options.watch and screen is not None:
            return await _live(queues, screen, options.every)
        while True:
            looks = await _look(queues)
            _print(looks, as_json=as_json)
            if not options.watch:
                return int(any(isinstance(each, TransportError) for each in looks.values()))
            await asyncio.sleep(options.every)
    finally:
        for transport in queues.values():
            if not isinstance(transport, TransportError):
                await transport.aclose()


def _open(url: str, settings: Settings) -> Transport | TransportError:
    try:
        refuse_missing(url, settings)
    except QueueNotFoundError as error:
        return error
    return open_transport(url, settings=settings)


async def _look(queues: Queues) -> dict[str, Depth | TransportError]:
    answers = await asyncio.gather(*(_depth(each) for each in queues.values()))
    return dict(zip(queues, answers, strict=True))


async def _depth(transport: Transport | TransportError) -> Depth | TransportError:
    if isinstance(transport, TransportError):
        return transport
    try:
        return await transport.depth()
    except TransportError as error:
        return error


def _print(looks: Mapping[str, Depth | TransportError], *, as_json: bool) -> None:
    if as_json:
        for url, look in looks.items():
            output.json_line(_record(url, look))
    else:
        output.table("", COLUMNS, _rows(looks))


def _record(url: str, look: Depth | TransportError) -> dict[str, Any]:
    if isinstance(look, TransportError):
        return {"queue": url, "error": str(look)}
    return {"queue": url, **look.as_dict()}


def _rows(looks: Mapping[str, Depth | TransportError]) -> list[tuple[str, ...]]:
    return [_row(url, look) for url, look in looks.items()]


def _row(url: str, look: Depth | TransportError) -> tuple[str, ...]:
    if isinstance(look, TransportError):
        return (url, "", "", "", "", "", str(look))
    dead = "-" if look.dead_lettered is None else f"{look.dead_lettered:,}"
    numbers = (f"{number:,}" for number in (look.visible, look.in_flight, look.delayed))
    return (url, *numbers, dead, age(look.oldest_seconds), "")


def age(seconds: float | None) -> str:
    """Say an age in its two largest units."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for size, unit, smaller_size, smaller in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size} {smaller}"
    return f"{whole} s"


async def _live(queues: Queues, screen: Console, every: float) -> int:
    from rich.live import Live

    with Live(console=screen, auto_refresh=False) as live:
        while True:
            live.update(_table(_rows(await _look(queues))), refresh=True)
            await asyncio.sleep(every)


def _table(rows: Sequence[tuple[str, ...]]) -> Any:
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD)
    for position, column in enumerate(COLUMNS):
        justify = "left" if position in (0, len(COLUMNS) - 1) else "right"
        drawn.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        drawn.add_row(*row)
    return drawn
