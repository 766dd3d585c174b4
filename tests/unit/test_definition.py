import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from queue_runtime.config import Settings, load_settings
from queue_runtime.definition import HandlerDefinition, Shape, definition_of, settings_of
from queue_runtime.errors import HandlerDefinitionError
from queue_runtime.handler import queue_handler
from queue_runtime.message import Batch, Message
from queue_runtime.outcome import DeadLetter
from queue_runtime.retry import Backoff

AnyT = TypeVar("AnyT")


class Order(BaseModel):
    id: str


def _body(order: Order) -> None: ...
def _message(message: Message[Order]) -> None: ...
async def _batch(batch: Batch[Order]) -> None: ...
def _later(message: "Message[Later]") -> None: ...
def _optional(order: dict[str, Any], retries: int = 3, *, loud: bool = False) -> None: ...


class Later(BaseModel):
    id: str


@pytest.mark.parametrize(
    ("function", "shape", "is_async", "shown"),
    [
        (_body, Shape.BODY, False, "_body: T"),
        (_message, Shape.MESSAGE, False, "_message: Message[T]"),
        (_batch, Shape.BATCH, True, "_batch: async Batch[T]"),
        (_later, Shape.MESSAGE, False, "_later: Message[T]"),
        (_optional, Shape.BODY, False, "_optional: T"),
    ],
)
def test_the_annotation_decides_the_shape(
    function: Any, shape: Shape, is_async: bool, shown: str
) -> None:
    definition = HandlerDefinition(function)
    assert (definition.shape, definition.is_async) == (shape, is_async)
    assert repr(definition) == f"<HandlerDefinition {__name__}.{shown}>"


def _no_argument() -> None: ...
def _two(order: dict[str, Any], other: int) -> None: ...
def _keyword(order: dict[str, Any], *, must: int) -> None: ...
def _only_keyword(*, order: dict[str, Any]) -> None: ...
def _star(*orders: dict[str, Any]) -> None: ...
def _bare(order) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - that is the point
def _nothing(order: None) -> None: ...
def _anything(order: Any) -> None: ...
def _object(order: object) -> None: ...
def _any_message(message: Message[Any]) -> None: ...
def _bare_message(message: Message) -> None: ...  # type: ignore[type-arg]
def _bare_batch(batch: Batch) -> None: ...  # type: ignore[type-arg]
def _unknown(order: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def _syntax(order: "not a type[") -> None: ...  # type: ignore[valid-type]  # noqa: F722
def _view(order: memoryview) -> None: ...
def _yields(order: dict[str, Any]) -> Iterator[None]:
    yield


async def _yields_async(order: dict[str, Any]) -> AsyncIterator[None]:
    yield


class _Class:
    def __init__(self, order: dict[str, Any]) -> None: ...

    def method(self, order: dict[str, Any]) -> None: ...

    @classmethod
    def made(cls, order: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (_no_argument, "must take exactly one argument"),
        (_two, "must take exactly one argument"),
        (_keyword, "must take exactly one argument"),
        (_only_keyword, "must take exactly one argument"),
        (_star, "must take exactly one argument"),
        (_Class.method, r"is a method, .* write method = queue_handler\(_Class\(\)\.method\)"),
        (_bare, "does not say what 'order' is: write order: dict"),
        (_nothing, "does not say what 'order' is"),
        (_anything, "order could be anything"),
        (_object, "order could be anything"),
        (_any_message, "message could be anything"),
        (_bare_message, r"is a bare Message: .* such as Message\[dict\]"),
        (_bare_batch, r"is a bare Batch: .* such as Batch\[dict\]"),
        (_unknown, "names 'Missing', which is not defined .* not under TYPE_CHECKING"),
        (_syntax, "the annotation of 'order' cannot be read"),
        (_view, "pydantic cannot decode a body into memoryview"),
        (_yields, "yields: calling it would run nothing"),
        (_yields_async, "yields: calling it would run nothing"),
        (_Class, r"goes on a function \(def or async def\)"),
        (len, "goes on a function"),
        ("orders", "goes on a function"),
        (_Class.__dict__["made"], r"below the class, write made = queue_handler\(_Class\.made\)"),
        (functools.partial(_two), "must take exactly one argument"),
        (functools.partial(_body, Order(id="1")), "must take exactly one argument"),
        (functools.partial(_two, order={}), "must take exactly one argument"),
    ],
)
def test_a_function_that_cannot_be_a_handler_says_what_to_write(
    function: Any, sentence: str
) -> None:
    with pytest.raises(HandlerDefinitionError, match=sentence) as caught:
        HandlerDefinition(function)
    if "goes on" not in sentence:
        assert str(caught.value).startswith(f"{__name__}.")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"envelope": "sqs"}, "envelope is 'sns' or 'eventbridge' or 's3', not 'sqs'"),
        ({"envelope": ["sns", "sqs"]}, "envelope is .*, not 'sqs'"),
        ({"envelope": "sns+s3"}, "envelope is .*, not 'sns\\+s3'"),
        ({"batch_order": True}, "batch_order is 'accept_repeats', not True"),
        ({"on_error": {ValueError: "dead"}}, r"on_error\[ValueError\]"),
    ],
)
def test_a_wrong_option_fails_at_import(options: Any, sentence: str) -> None:
    with pytest.raises(HandlerDefinitionError, match=sentence) as refused:
        HandlerDefinition(_body, **options)
    if "on_error" not in options:
        assert str(refused.value).startswith(f"{__name__}._body: ")


def _logged(function: Callable[..., AnyT]) -> Callable[..., AnyT]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> AnyT:
        return function(*args, **kwargs)

    return wrapper


def _awaiting(function: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return wrapper


def test_the_authors_function_counts_under_other_decorators() -> None:
    assert HandlerDefinition(_logged(_logged(_message))).shape is Shape.MESSAGE
    assert HandlerDefinition(_logged(_batch)).is_async
    assert HandlerDefinition(_awaiting(_body)).is_async
    assert HandlerDefinition(_logged(_body)).name == f"{__name__}._body"


class _Books:
    """Books orders."""

    def book(self, order: dict[str, Any]) -> None: ...

    async def note(self, message: Message[Order]) -> None: ...

    @classmethod
    def check(cls, order: dict[str, Any]) -> None: ...

    @staticmethod
    def count(batch: Batch[Order]) -> None: ...


class _Callable:
    """Takes orders."""

    async def __call__(self, message: Message[Order]) -> None: ...


def _with_ledger(ledger: str, order: Order, *, dry: bool) -> None: ...


BOOKED = f"{__name__}._Books"


@pytest.mark.parametrize(
    ("function", "name", "shown"),
    [
        (_Books().book, f"{BOOKED}.book", "T"),
        (_Books().note, f"{BOOKED}.note", "async Message[T]"),
        (_Books.check, f"{BOOKED}.check", "T"),
        (_Books.count, f"{BOOKED}.count", "Batch[T]"),
        (_Books.__dict__["count"], f"{BOOKED}.count", "Batch[T]"),
        (functools.partial(_body), f"{__name__}._body", "T"),
        (functools.partial(_with_ledger, "main", dry=True), f"{__name__}._with_ledger", "T"),
        (functools.partial(_Books().note), f"{BOOKED}.note", "async Message[T]"),
        (functools.partial(_two, other=1), f"{__name__}._two", "T"),
        (_Callable(), f"{__name__}._Callable", "async Message[T]"),
        (functools.partial(_Callable()), f"{__name__}._Callable", "async Message[T]"),
        (_logged(_Books().note), f"{BOOKED}.note", "async Message[T]"),
    ],
)
def test_a_method_a_partial_or_a_callable_object_is_read_like_a_function(
    function: Any, name: str, shown: str
) -> None:
    definition = HandlerDefinition(function)
    assert repr(definition) == f"<HandlerDefinition {name}: {shown}>"


def test_a_partial_is_looked_into_under_other_decorators() -> None:
    assert HandlerDefinition(_logged(functools.partial(_message))).shape is Shape.MESSAGE


LATE = """
def accepted(order: dict) -> Missing: ...
def refused(message: Message[Missing]) -> None: ...
def unreadable(order: sys.nothing) -> None: ...
"""


def test_of_annotations_that_are_evaluated_late_only_the_arguments_own_counts() -> None:
    # From Python 3.14 on they are; before that, this import has them so.
    late = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    module: dict[str, Any] = {"__name__": __name__, "Message": Message, "sys": sys}
    exec(late + LATE, module)
    assert HandlerDefinition(module["accepted"]).shape is Shape.BODY
    with pytest.raises(HandlerDefinitionError, match="names 'Missing', which is not defined"):
        HandlerDefinition(module["refused"])
    with pytest.raises(HandlerDefinitionError, match="annotation of 'order' cannot be read"):
        HandlerDefinition(module["unreadable"])


def test_a_return_type_for_type_checkers_alone_is_not_evaluated() -> None:
    def handler(order: "dict[str, Any]") -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821

    assert HandlerDefinition(handler).shape is Shape.BODY


def test_the_policy_takes_the_operators_numbers_and_the_authors_word() -> None:
    settings = load_settings(
        {"max_deliveries": 7},
        environ={"QUEUE_RETRY_BACKOFF_MS": "2000", "QUEUE_MAX_BACKOFF_SECONDS": "3"},
    )
    policy = HandlerDefinition(_body, on_error={KeyError: DeadLetter}).policy(settings)
    assert policy.max_deliveries == 7
    assert (policy.backoff.base, policy.backoff.maximum) == (2.0, 3.0)
    assert KeyError in policy.reactions
    mine = Backoff(9)
    assert HandlerDefinition(_body, backoff=mine).policy(settings).backoff is mine


def test_a_batch_handler_is_refused_on_an_ordered_queue_until_it_accepts_the_price() -> None:
    with pytest.raises(HandlerDefinitionError, match='batch_order="accept_repeats"'):
        HandlerDefinition(_batch).refuse_order("orders.fifo")
    HandlerDefinition(_batch, batch_order="accept_repeats").refuse_order("orders.fifo")
    HandlerDefinition(_message).refuse_order("orders.fifo")


def test_options_are_copied() -> None:
    settings, middleware = {"queue": "a"}, [_identity]
    definition = HandlerDefinition(_body, settings=settings, call_middleware=middleware)
    settings["queue"] = "b"
    middleware.clear()
    assert definition.settings == {"queue": "a"}
    assert definition.call_middleware == (_identity,)


async def _identity(messages: Any, call_next: Any) -> Any:
    return await call_next(messages)


def test_the_recursion_limit_is_no_bound_on_decorators() -> None:
    function: Any = _body
    for _ in range(sys.getrecursionlimit()):
        function = _logged(function)
    assert HandlerDefinition(function).shape is Shape.BODY


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_deliveries": 0}, "decorator argument max_deliveries: 0 cannot be"),
        ({"max_deliveries": "5"}, "'5' cannot be max_deliveries"),
        ({"concurrency": True}, "True cannot be concurrency"),
        ({"queue": ""}, "'' cannot be queue"),
        ({"tracing": "jaeger"}, "write otel or xray"),
        ({"backoff": 30}, "backoff is a Backoff, not 30"),
        ({"call_middleware": len}, "call_middleware is a list of middleware"),
        ({"delivery_middleware": [1]}, "delivery_middleware is a list of middleware"),
    ],
)
def test_a_decorator_option_that_cannot_work_fails_at_import(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(HandlerDefinitionError) as refused:

        @queue_handler(**options)
        def take(body: str) -> None: ...

    assert sentence in str(refused.value)
    assert str(refused.value).partition(": ")[0].endswith(".take")


class Telling:
    """Stands for what the author said of repeated messages; keeps what it is bound by."""

    needs_store = False

    def __init__(self) -> None:
        self.checked: list[Any] = []
        self.bound_by: list[Any] = []

    def check(self, handler: str, body_type: Any) -> None:
        self.checked += [handler, body_type]

    def bind(
        self, definition: HandlerDefinition, settings: Settings, *, fixed_locks: bool
    ) -> HandlerDefinition:
        self.bound_by += [definition, settings, fixed_locks]
        return HandlerDefinition(_message)


@pytest.mark.parametrize(
    ("said", "fixed_locks"),
    [({}, False), ({"fixed_locks": False}, False), ({"fixed_locks": True}, True)],
)
def test_what_needs_settings_is_bound_by_the_operators(
    said: dict[str, bool], fixed_locks: bool
) -> None:
    telling, settings = Telling(), load_settings()
    definition = HandlerDefinition(_body, idempotency=telling)
    assert telling.checked == [f"{__name__}._body", Order]
    assert definition.bound(settings, **said).function is _message
    assert telling.bound_by == [definition, settings, fixed_locks]


def test_a_definition_that_needs_no_settings_is_bound_as_it_is() -> None:
    definition = HandlerDefinition(_body)
    assert definition.bound(load_settings()) is definition
    assert definition.idempotency is None
    assert definition.decodes_first is False


def test_a_refused_order_says_why_and_what_to_write() -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        HandlerDefinition(_batch).refuse_order("orders.fifo")
    assert str(refused.value) == (
        f"{__name__}._batch takes a Batch and orders.fifo is ordered: when one message fails, the "
        "later ones of its group come back even if their work is done. Take one message at a time, "
        'or write @queue_handler(batch_order="accept_repeats")'
    )


def test_a_body_that_could_be_anything_says_what_to_write() -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        HandlerDefinition(_anything)
    assert str(refused.value) == (
        f"{__name__}._anything: order could be anything: write what the body is, such as dict, "
        "bytes, or a model of yours"
    )


def test_the_argument_is_named_where_its_annotation_cannot_work() -> None:
    with pytest.raises(HandlerDefinitionError, match="_bare_message: message is a bare Message: "):
        HandlerDefinition(_bare_message)


@pytest.mark.parametrize(
    ("option", "given", "end"),
    [
        ("call_middleware", len, "call_middleware is a list of middleware, outermost first, even"),
        ("delivery_middleware", [1], "delivery_middleware is a list of middleware, outermost"),
        ("backoff", 30, "backoff is a Backoff, not 30"),
    ],
)
def test_an_option_that_is_refused_is_named_with_its_handler(
    option: str, given: Any, end: str
) -> None:
    options = {option: given}
    with pytest.raises(HandlerDefinitionError) as refused:
        HandlerDefinition(_body, **options)
    assert str(refused.value).startswith(f"{__name__}._body: {end}")
    if "middleware" in option:
        assert str(refused.value).endswith("first, even where it is one")


def test_all_that_is_wrong_with_settings_is_said_at_once() -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        HandlerDefinition(_body, settings={"max_deliveries": 0, "queue": ""})
    text = str(refused.value)
    assert text.startswith(f"{__name__}._body: decorator argument max_deliveries: ")
    assert "; decorator argument queue: " in text


async def _once_more(messages: Any, call_next: Any) -> Any:
    return await call_next(messages)


@pytest.mark.parametrize("kind", [list, tuple])
def test_middleware_is_kept_in_its_order(kind: Any) -> None:
    middleware = kind([_identity, _once_more])
    definition = HandlerDefinition(_body, delivery_middleware=middleware)
    assert definition.delivery_middleware == (_identity, _once_more)
    assert HandlerDefinition(_body, call_middleware=middleware).call_middleware == (
        _identity,
        _once_more,
    )


def test_a_definition_is_found_on_what_the_decorator_made() -> None:
    made = queue_handler(_body)
    assert definition_of(made) is made.definition


class _Pretends:
    definition = "mine"


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (_body, f"{__name__}._body is a function, not a handler: put @queue_handler on it"),
        (7, "a int is no handler: give a function with @queue_handler on it"),
        (None, "a NoneType is no handler: give a function with @queue_handler on it"),
        (_Pretends(), "a _Pretends is no handler: give a function with @queue_handler on it"),
    ],
)
def test_what_is_no_handler_is_refused_with_what_to_write(handler: Any, sentence: str) -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        definition_of(handler)
    assert str(refused.value) == sentence


def test_a_handler_runs_by_the_settings_that_are_given_else_by_its_own() -> None:
    given = load_settings()
    own = queue_handler(max_deliveries=7)(_body)
    assert settings_of(own, given) is given
    assert settings_of(own).max_deliveries == 7


def test_settings_of_another_kind_are_refused_with_what_to_write() -> None:
    wrong: Any = {"queue": "a"}
    with pytest.raises(HandlerDefinitionError) as refused:
        settings_of(queue_handler(_body), wrong)
    assert str(refused.value) == (
        f"{__name__}._body: settings are what load_settings() gives, not a dict: "
        "write load_settings(arguments={...})"
    )
