"""The local transport under the suite of all transports: in a file and in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from queue_runtime.testing.conformance import Features, TransportConformance
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport
from tests.conformance.features import LOCAL
from tests.movable_clock import MovableClock

if TYPE_CHECKING:
    from pathlib import Path

    from queue_runtime.transports.base import Transport
    from queue_runtime.transports.local.address import LocalAddress


class LocalConformance(TransportConformance):
    features = LOCAL
    system = "local"
    options = ""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.begin(tmp_path)

    def begin(self, tmp_path: Path) -> None:
        self.folder = str(tmp_path)
        self.clock = MovableClock()
        self.addresses: dict[str, LocalAddress] = {}

    async def open_queue(self, *, ordered: bool) -> Transport:
        url = f"local://q-{uuid4().hex}?ordered={str(ordered).lower()}{self.options}"
        address = read_address(url, self.folder)
        self.addresses[address.queue] = address
        return self.open(address)

    async def open_again(self, transport: Transport) -> Transport:
        return self.open(replace(self.addresses[transport.queue], ordered=None))

    async def open_dead_letters(self, transport: Transport) -> Transport:
        return self.open(replace(self.addresses[transport.queue], dead_letters=True))

    async def move_clock(self, seconds: float) -> None:
        self.clock.move(seconds)

    def open(self, address: LocalAddress) -> Transport:
        return LocalTransport(address, lock_seconds=100, clock=self.clock)


class TestFile(LocalConformance):
    pass


class TestMemory(LocalConformance):
    options = "&memory"


class WithoutOrder(TransportConformance):
    features = Features(ordered_groups=False)


def test_tests_of_missing_features_are_not_collected() -> None:
    name = "test_locked_message_holds_its_group_and_no_other"
    assert callable(getattr(TestFile, name))
    assert getattr(WithoutOrder, name) is None
    assert callable(WithoutOrder.test_acknowledged_message_is_gone)
