from __future__ import annotations

import pytest

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.hosts.azure_functions.host import Source
from queue_runtime.observability.span_attributes import SpanPlace

KEY = "SharedAccessKeyName=app;SharedAccessKey=c2VjcmV0="


@pytest.mark.parametrize(
    ("connection", "host"),
    [
        (ServiceBusConnection(Secret(f"Endpoint=sb://shop.example/;{KEY}")), "shop.example"),
        (ServiceBusConnection(Secret(f"{KEY};endpoint = sb://shop.example:5671")), "shop.example"),
        (ServiceBusConnection(Secret(KEY)), None),
        (ServiceBusConnection(namespace="shop.example"), "shop.example"),
        (ServiceBusConnection(), None),
    ],
)
def test_the_host_is_told_without_the_key(connection: ServiceBusConnection, host: str) -> None:
    assert connection.host == host


def test_a_trigger_on_a_subscription_tells_its_topic() -> None:
    source = Source("news/all", "SB", subscription="all")
    assert source.place == SpanPlace(topic="news", subscription="all")
    assert Source("team/orders", "SB").place is None
    assert Source("orders", "SB").place is None
