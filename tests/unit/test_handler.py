import asyncio
import functools
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import queue_runtime
from queue_runtime import (
    Backoff,
    Batch,
    HandlerDefinitionError,
    Message,
    Retry,
    SettingsError,
    queue_handler,
)
from queue_runtime.handler import Handler
from queue_runtime.testing import deliver, lambda_context, sqs_event

got: list[Any] = []


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    got.clear()
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_LAMBDA_RUNTIME_API", "_HANDLER"):
        monkeypatch.delenv(name, raising=False)


@queue_handler
def bare(order: dict[str, Any]) -> None:
    """Book an order."""
    got.append(order)


@queue_handler()
def empty(order: dict[str, Any]) -> None:
    got.append(order)


@queue_handler(queue="orders", max_deliveries=2, concurrency=3, dead_letter="dlq")
async def in_loop(message: Message[dict[str, Any]]) -> None:
    await asyncio.sleep(0)
    got.append(message.body)


def test_with_and_without_parentheses() -> None:
    for handler in (bare, empty, in_loop):
        assert isinstance(handler, Handler)
    assert bare.definition.settings == empty.definition.settings == {}
    assert in_loop.definition.settings == {
        "queue": "orders",
        "max_deliveries": 2,
        "concurrency": 3,
        "dead_letter": "dlq",
    }


def test_the_options_reach_the_definition() -> None:
    async def around(messages: Any, call_next: Any) -> Any:
        return await call_next(messages)

    backoff = Backoff(3)

    @queue_handler(
        backoff=backoff,
        on_error={KeyError: Retry(after=1)},
        envelope="sns",
        batch_order="accept_repeats",
        preload="init",
        delivery_middleware=[around],
        call_middleware=[around],
    )
    def handler(batch: Batch[bytes]) -> None: ...

    definition = handler.definition
    assert definition.backoff is backoff
    assert list(definition.on_error) == [KeyError]
    assert (definition.envelope, definition.batch_order) == (("sns",), "accept_repeats")
    assert definition.delivery_middleware == definition.call_middleware == (around,)
    assert definition.settings == {"preload": "init"}


def test_one_argument_calls_the_plain_function() -> None:
    bare({"id": 1})
    assert got == [{"id": 1}]
    coroutine = in_loop(Message.of({"id": 2}))
    assert inspect.iscoroutine(coroutine)
    asyncio.run(coroutine)
    assert got == [{"id": 1}, {"id": 2}]


def test_an_error_of_the_plain_function_is_seen_as_it_is() -> None:
    @queue_handler
    def handler(body: str) -> None:
        raise Retry("busy", after=3)

    with pytest.raises(Retry, match="busy"):
        handler("x")


@pytest.mark.parametrize("handler", [bare, in_loop])
@pytest.mark.parametrize("has_context", [True, False])
def test_event_and_context_call_the_lambda_host_and_never_give_a_coroutine(
    handler: Any, has_context: bool
) -> None:
    # Made here: its time counts down from when it is made.
    reply = handler(sqs_event({"id": 1}), lambda_context() if has_context else None)
    assert reply == {"batchItemFailures": []}
    assert got == [{"id": 1}]


def test_invocations_of_an_async_handler_share_one_loop() -> None:
    loops = []

    @queue_handler
    async def handler(body: str) -> None:
        loops.append(asyncio.get_running_loop())

    for _ in range(2):
        handler(sqs_event("a", "b"), None)
    assert len(loops) == 4
    assert len(set(map(id, loops))) == 1


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_any_other_arity_says_which_two_there_are(arguments: Any) -> None:
    with pytest.raises(TypeError, match=r"its one argument, or a Lambda \(event, context\), not"):
        bare(*arguments)


def test_the_object_looks_like_its_function() -> None:
    assert (bare.__name__, bare.__doc__, bare.__module__) == ("bare", "Book an order.", __name__)
    assert bare.__qualname__ == "bare"
    assert repr(bare) == f"<Handler <HandlerDefinition {__name__}.bare: T>>"


def test_the_lambda_host_is_made_once() -> None:
    assert bare.lambda_host() is bare.lambda_host()


def _takes_nothing() -> None: ...


def test_a_wrong_function_fails_at_import() -> None:
    with pytest.raises(HandlerDefinitionError):
        queue_handler(_takes_nothing)  # type: ignore[arg-type]
    with pytest.raises(HandlerDefinitionError):
        queue_handler(bare)


def test_methods_are_refused() -> None:
    with pytest.raises(HandlerDefinitionError, match="exactly one argument"):

        class _Holder:
            @queue_handler  # type: ignore[arg-type]
            def method(self, order: dict[str, Any]) -> None: ...


def test_it_goes_over_other_decorators() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            got.append("before")
            return function(*args)

        return wrapper

    @queue_handler
    @logged
    def handler(order: dict[str, Any]) -> None:
        got.append(order)

    assert handler(sqs_event({"id": 1}), None) == {"batchItemFailures": []}
    assert got == ["before", {"id": 1}]


def test_on_lambda_a_wrong_setting_fails_at_init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("QUEUE_MAX_RETRY_ATTEMPTS", "many")
    with pytest.raises(SettingsError, match="QUEUE_MAX_RETRY_ATTEMPTS"):

        @queue_handler
        def handler(body: str) -> None: ...


@pytest.mark.parametrize(
    ("named", "made"),
    [
        ("tests.unit.test_handler.take", True),
        ("tests/unit/test_handler.take", True),
        ("tests.unit.test_handler.other", False),
        ("orders.take", False),
    ],
)
def test_at_init_only_the_handler_that_lambda_names_is_made(
    named: str, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("_HANDLER", named)
    made_for: list[Handler[Any, Any]] = []
    monkeypatch.setattr(Handler, "lambda_host", lambda handler: made_for.append(handler))

    @queue_handler
    def take(body: str) -> None: ...

    assert made_for == ([take] if made else [])


def test_a_sibling_without_its_store_does_not_stop_a_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("_HANDLER", "tests.unit.test_handler.take")

    @queue_handler
    def take(body: str) -> None: ...

    @queue_handler(idempotency_key="id")
    def take_once(body: dict[str, Any]) -> None: ...

    assert take(sqs_event("x"), None) == {"batchItemFailures": []}
    with pytest.raises(SettingsError, match="has no store"):
        take_once(sqs_event({"id": 1}), None)


SYNC_DICT = """
import sys
from queue_runtime import queue_handler

@queue_handler
def take(order: dict) -> None:
    assert order == {"id": 1}

record = {
    "messageId": "m1", "receiptHandle": "r", "body": '{"id": 1}', "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:orders",
    "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {},
}

class Context:
    memory_limit_in_mb = 128
    def get_remaining_time_in_millis(self): return 3000

assert take({"Records": [record]}, Context()) == {"batchItemFailures": []}
heavy = ("boto3", "botocore", "azure", "pydantic", "pydantic_core", "asyncio", "opentelemetry",
         "contextvars", "bisect", "aws_lambda_powertools", "aws_xray_sdk")
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy))
"""


@pytest.mark.parametrize("on_lambda", [False, True])
def test_one_sync_dict_invoke_imports_nothing_heavy(on_lambda: bool, tmp_path: Any) -> None:
    environment = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"} if on_lambda else {}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SYNC_DICT],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(queue_runtime.__file__).parent.parent), **environment},
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


class Ledger:
    """Keeps books."""

    def book(self, order: dict[str, Any]) -> None:
        """Book one order."""
        got.append((self, order))

    @staticmethod
    @queue_handler
    def below(order: dict[str, Any]) -> None:
        got.append(order)

    def __call__(self, message: Message[str]) -> None:
        got.append((self, message.body))


def test_a_bound_method_a_partial_and_a_callable_object_run_as_handlers() -> None:
    ledger = Ledger()
    method, called = queue_handler(ledger.book), queue_handler(ledger)
    partial = queue_handler(functools.partial(Ledger.book, ledger))
    for handler in (method, partial):
        assert str(deliver(handler, {"id": 1}).disposition) == "ack"
        assert (handler.__name__, handler.__doc__) == ("book", "Book one order.")
        assert handler.__qualname__ == "Ledger.book"
    assert str(deliver(called, "text").disposition) == "ack"
    assert (called.__name__, called.__doc__) == ("Ledger", "Keeps books.")
    assert got == [(ledger, {"id": 1}), (ledger, {"id": 1}), (ledger, "text")]


def test_a_static_method_is_a_handler_in_either_order_of_decorators() -> None:
    class Other:
        @queue_handler
        @staticmethod
        def above(order: dict[str, Any]) -> None:
            got.append(order)

    Ledger.below({"id": 1})
    Other.above({"id": 2})
    assert str(deliver(Other.above, {"id": 3}).disposition) == "ack"
    assert got == [{"id": 1}, {"id": 2}, {"id": 3}]
