"""The `service_bus` fixture; a conftest takes it with `from … import service_bus`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import ServiceBusBroker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service_bus() -> Iterator[ServiceBusBroker]:
    """A broker of this test's own: time moved in one must not reach another."""
    with ServiceBusBroker() as broker:
        yield broker
