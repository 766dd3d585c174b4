"""A transport that another package brings: it passes the suite, polls, and is found by its URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from queue_runtime import QueueNotFoundError, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.testing import Features, TransportConformance
from queue_runtime.transports import OutgoingMessage, open_transport, refused
from tests.conformance.toy_transport import ToyTransport
from tests.movable_clock import MovableClock

if TYPE_CHECKING:
    from pathlib import Path

    from queue_runtime.transports import Transport

TOY = "toy = tests.conformance.toy_transport:open_toy"


class TestToy(TransportConformance):
    features = Features(ordered_groups=False, deduplication=False)
    system = "toy"

    @pytest.fixture(autouse=True)
    def clock(self) -> None:
        self.moved = MovableClock()

    async def open_queue(self, *, ordered: bool) -> Transport:
        return self.open(f"q-{uuid4().hex}")

    async def open_again(self, transport: Transport) -> Transport:
        return self.open(transport.queue)

    async def open_dead_letters(self, transport: Transport) -> Transport:
        return self.open(f"{transport.queue}/dead-letter")

    async def move_clock(self, seconds: float) -> None:
        self.moved.move(seconds)

    def open(self, queue: str) -> Transport:
        return ToyTransport(queue, lock_seconds=100, clock=self.moved)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package that brings the toy transport, as far as its metadata go."""
    monkeypatch.syspath_prepend(str(tmp_path))
    _install(tmp_path, "toy_queue", TOY)
    return f"toy://q-{uuid4().hex}"


def _install(folder: Path, package: str, entry_point: str) -> None:
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[queue_runtime.transports]\n{entry_point}\n")


def test_a_poller_consumes_a_queue_of_an_installed_package(installed: str) -> None:
    taken: list[str] = []

    @queue_handler(queue="toys")
    async def take(body: str) -> None:
        taken.append(body)

    async def work() -> int:
        settings = load_settings(environ={})
        queue = open_transport(installed, settings=settings)
        messages = [OutgoingMessage(body=name) for name in ("ball", "car")]
        assert not refused(await queue.send(messages))
        await Poller(take, queue, settings=settings).run(Until.EMPTY)
        total = (await queue.depth()).total
        await queue.aclose()
        return total

    assert asyncio.run(work()) == 0
    assert sorted(taken) == ["ball", "car"]


def test_an_unknown_scheme_names_those_that_are_installed(installed: str) -> None:
    with pytest.raises(QueueNotFoundError, match=r"local://, sqs://, servicebus://, toy://"):
        open_transport("tyo://orders", settings=load_settings(environ={}))


def test_two_packages_with_one_scheme_are_refused(installed: str, tmp_path: Path) -> None:
    _install(tmp_path, "other_queue", "toy = tests.conformance.test_toy:TestToy")
    with pytest.raises(QueueNotFoundError, match=r"test_toy:TestToy and .*toy_transport:open_toy"):
        open_transport(installed, settings=load_settings(environ={}))


@pytest.mark.parametrize("opener", ["no_such_module:open_it", "tests.conformance.toy_transport:no"])
def test_a_package_that_cannot_be_imported_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opener: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    _install(tmp_path, "broken_queue", f"broken = {opener}")
    with pytest.raises(QueueNotFoundError, match=f"{opener}, which cannot be imported"):
        open_transport("broken://orders", settings=load_settings(environ={}))
