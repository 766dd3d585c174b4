"""The host's span is the parent, on the worker's threads and on its loop, by the real worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

from queue_runtime import Batch, Message, queue_handler, register
from tests.hosts.azure_functions.encoding import Sent
from tests.hosts.azure_functions.fake_host import TRACE_PARENT
from tests.observability.conftest import off, spans  # noqa: F401 - fixtures

if TYPE_CHECKING:
    import azure.functions as func

    from tests.hosts.azure_functions.conftest import Hosts

_, TRACE, PARENT, _ = TRACE_PARENT.split("-")
PRODUCER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
seen: list[int] = []


def _remember() -> None:
    seen.append(trace.get_current_span().get_span_context().span_id)


@queue_handler(queue="orders", tracing="otel")
def take(message: Message[str]) -> None:
    _remember()


@queue_handler(queue="orders", tracing="otel")
async def take_async(message: Message[str]) -> None:
    await asyncio.sleep(0)
    _remember()


@queue_handler(queue="orders", tracing="otel")
def take_all(batch: Batch[str]) -> None:
    _remember()


@queue_handler(queue="orders", tracing="otel")
async def take_all_async(batch: Batch[str]) -> None:
    await asyncio.sleep(0)
    _remember()


@pytest.mark.parametrize("handler", [take, take_async, take_all, take_all_async])
def test_the_span_of_the_call_is_below_the_hosts_and_current_in_the_handler(
    handler: Any,
    host: Hosts,
    app: func.FunctionApp,
    spans: Any,  # noqa: F811 - the fixture
) -> None:
    seen.clear()
    register(app, handler, connection="SERVICEBUS", name="take")
    invocation = host(app).invoke("take", Sent('"x"', properties={"traceparent": PRODUCER}))
    assert invocation.fates == ["completed"]
    (process,) = [each for each in spans.get_finished_spans() if each.name == "process orders"]
    assert f"{process.parent.span_id:016x}" == PARENT
    assert f"{process.context.trace_id:032x}" == TRACE
    assert [f"{link.context.trace_id:032x}" for link in process.links] == ["c" * 32]
    assert seen == [process.context.span_id]


def test_without_tracing_the_function_takes_no_context(app: func.FunctionApp) -> None:
    plain = queue_handler(queue="orders")(take.definition.function)
    register(app, plain, connection="SERVICEBUS", name="take")
    (function,) = app.get_functions()
    assert list(function.get_user_function().__annotations__) == ["message"]
