"""A queue service that is filled with numbers, and in which one thing after another goes wrong."""

from __future__ import annotations

from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, Any, Protocol, cast

from tests.faults.forked import context

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK_SECONDS = 10
FILLER = "x" * 1000


class Service(Protocol):
    """What a soak asks of it."""

    def url(self) -> str: ...

    def environment(self) -> dict[str, str]: ...

    def fill(self, numbers: range) -> None: ...

    def left(self) -> int:
        """Count the messages that are not done yet."""

    def dead(self) -> int: ...

    def deliveries(self) -> int | None:
        """Count all so far; None where only who receives can tell."""

    def trouble(self) -> int:
        """Make the next fault, and give how many messages it may have delivered once more."""

    def faults(self) -> int:
        """Count those that have struck; a lost lock is one."""

    def heal(self) -> None: ...


class Process(BaseManager):
    """A process that has a service, whose memory is not counted here then."""


def apart(process: Process, kind: Callable[..., Service], *arguments: Any) -> Service:
    """Make a service over there."""
    return cast("Service", getattr(process, kind.__name__)(*arguments))


def process_for(kind: Callable[..., Service]) -> Process:
    Process.register(kind.__name__, kind)
    return Process(ctx=context())


def body_of(number: int) -> str:
    return f"{number:08} {FILLER}"


def number_of(body: bytes) -> int:
    return int(body[:8])
