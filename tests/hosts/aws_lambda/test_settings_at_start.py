"""What a Lambda function says of its settings while it starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from queue_runtime import queue_handler
from queue_runtime.hosts.aws_lambda.host import LambdaHost

if TYPE_CHECKING:
    import pytest


@queue_handler(queue="orders", max_deliveries=5)
def take(order: dict) -> None:  # type: ignore[type-arg]  # as most people write it
    ...


def _said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    with caplog.at_level(level, "queue_runtime"):
        LambdaHost(take)
    return [record.getMessage() for record in caplog.records]


def test_queue_explain_tells_every_setting_in_the_log_of_the_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_EXPLAIN", "1")
    monkeypatch.setenv("QUEUE_MAX_RETRY_ATTEMPTS", "2")
    lines = _said(caplog, logging.WARNING)
    assert (
        "max_deliveries = 3 (environment variable QUEUE_MAX_RETRY_ATTEMPTS), over 5 (decorator "
        "argument max_deliveries)"
    ) in lines
    assert lines[-1].endswith("more settings have their defaults")


def test_at_debug_they_are_told_too_and_else_nothing_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUEUE_EXPLAIN", raising=False)
    assert "max_deliveries = 5 (decorator argument max_deliveries)" in _said(caplog, logging.DEBUG)
    caplog.clear()
    assert _said(caplog, logging.WARNING) == []
