"""The consumer that a crash test kills."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.faults.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Place(Protocol):
    """Where a consumer finds its queue."""

    url: str
    environment: dict[str, str]


@pytest.fixture
def consumer_of(tmp_path: Path) -> Iterator[Callable[[Place], Consumer]]:
    with ExitStack() as stack:

        def consumer(place: Place) -> Consumer:
            made = Consumer(place.url, place.environment, tmp_path)
            stack.callback(made.close)
            return made

        yield consumer


@pytest.fixture
def consumer(rig: Place, consumer_of: Callable[[Place], Consumer]) -> Consumer:
    return consumer_of(rig)
