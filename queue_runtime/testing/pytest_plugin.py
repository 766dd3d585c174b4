"""Fixtures for a handler's tests; pytest finds them by itself where queue-runtime is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from queue_runtime import testing

if TYPE_CHECKING:
    from collections.abc import Callable

# So that a failing assertion of the suite shows its values, as a test's own does.
pytest.register_assert_rewrite("queue_runtime.testing.conformance")


@pytest.fixture
def deliver() -> Callable[..., object]:
    """Give `queue_runtime.testing.deliver`: one message through the real pipeline."""
    return testing.deliver


@pytest.fixture
def adeliver() -> Callable[..., object]:
    """Give `queue_runtime.testing.adeliver`, for tests that run in an event loop."""
    return testing.adeliver


@pytest.fixture
def sqs_event() -> Callable[..., dict[str, object]]:
    """Give `queue_runtime.testing.sqs_event`: the event of a function behind an SQS queue."""
    return testing.sqs_event


@pytest.fixture
def lambda_context() -> testing.LambdaContextStub:
    """Give a Lambda context with 30 seconds left."""
    return testing.lambda_context()
