"""The `service_bus` fixtures; a conftest takes them with `from … import service_bus`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import ServiceBusBroker
from .certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service_bus() -> Iterator[ServiceBusBroker]:
    """A broker of this test's own: time moved in one must not reach another."""
    with ServiceBusBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for all brokers."""
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def managed_service_bus(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServiceBusBroker]:
    """A broker with the management API, which the SDK trusts as long as the test lasts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.authority))
    with ServiceBusBroker(tls=certificate.context) as broker:
        yield broker
