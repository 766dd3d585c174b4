import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from queue_runtime.definition import HandlerDefinition, Shape
from queue_runtime.errors import BodyDecodeError
from queue_runtime.message import Batch, Message
from queue_runtime.middleware import Messages, Process, Run, RunBatch
from queue_runtime.outcome import (
    ACK,
    DeadLetter,
    Discard,
    Disposition,
    Outcome,
    Retry,
    Signal,
    unrun,
)
from queue_runtime.pipeline import Pipeline, run_blocking
from queue_runtime.retry import Backoff, RetryPolicy
from queue_runtime.testing import sns_notification, sqs_record
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD

SECRET = "SECRET-4111"


class Order(BaseModel):
    id: int

    @field_validator("id")
    @classmethod
    def _ask(cls, value: int) -> int:
        if value == 13:
            raise RuntimeError("service down")
        return value


class Around:
    """A middleware that writes down when it was passed, and by what."""

    blocking = True

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        self.journal.append(f"{self.name} in {len(messages)}")
        outcomes = await call_next(messages)
        self.journal.append(f"{self.name} out")
        return outcomes


def _pipeline(function: Callable[[Any], Any], **options: Any) -> Pipeline:
    definition = HandlerDefinition(function, **options)
    return Pipeline(definition, RetryPolicy(backoff=Backoff(4, jitter=False)))


def _deliver(pipeline: Pipeline, *bodies: Any, deliveries: int = 1) -> Sequence[Outcome]:
    messages = [
        Message.of(body, id=f"m{at}", delivery_count=deliveries)
        for at, body in enumerate(bodies, start=1)
    ]
    for message in messages:
        del message.body  # as on a host: read from the payload

    async def dispatch(messages: Messages) -> Sequence[Outcome]:
        if pipeline.definition.shape is Shape.BATCH:
            return await pipeline.run_batch(messages)
        return [await pipeline.run(message) for message in messages]

    work = pipeline.deliver(messages, dispatch)
    return run_blocking("test", work) if pipeline.blocking else asyncio.run(work)


def _fates(outcomes: Sequence[Outcome]) -> list[str]:
    return [str(outcome.disposition) for outcome in outcomes]


def test_each_shape_gets_what_its_annotation_says() -> None:
    got: list[Any] = []

    def body(order: Order) -> None:
        got.append(order)

    def message(message: Message[Order]) -> None:
        got.append((message.id, message.body))

    def raw(message: Message[bytes]) -> None:
        got.append(message.body)

    async def batch(batch: Batch[Order]) -> None:
        got.append([each.body for each in batch])

    for function in (body, message, raw, batch):
        outcomes = _deliver(_pipeline(function), '{"id": 1}')
        assert outcomes[0] is ACK
    assert got == [Order(id=1), ("m1", Order(id=1)), b'{"id": 1}', [Order(id=1)]]


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (ValueError(), "retry"),
        (Retry(), "retry"),
        (DeadLetter("x"), "dead-letter"),
        (Discard("x"), "ack"),
        (SystemExit(1), "retry"),
        (asyncio.CancelledError(), "retry"),
        (ExceptionGroup("many", [Discard("x")]), "ack"),
        (ExceptionGroup("many", [Discard("x"), ValueError()]), "retry"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async", "batch", "async batch"])
def test_whatever_a_handler_raises_is_its_own_messages_fate(
    kind: str, error: BaseException, fate: str
) -> None:
    def sync(body: str) -> None:
        if body == "bad":
            raise error

    async def in_loop(body: str) -> None:
        await asyncio.sleep(0)
        sync(body)

    def batch(batch: Batch[str]) -> None:
        sync(batch[1].body)

    async def batch_in_loop(batch: Batch[str]) -> None:
        await asyncio.sleep(0)
        batch_of(batch)

    batch_of = batch
    functions: dict[str, Callable[[Any], Any]] = {
        "sync": sync,
        "async": in_loop,
        "batch": batch,
        "async batch": batch_in_loop,
    }
    rest = fate if "batch" in kind else "ack"
    assert _fates(_deliver(_pipeline(functions[kind]), "a", "bad", "b")) == [rest, fate, rest]


class OfTheirOwn(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OfTheirOwn(), GeneratorExit()])
@pytest.mark.parametrize("takes", [str, Batch[str]])
def test_what_is_meant_to_end_the_process_ends_the_delivery(
    takes: Any, error: BaseException
) -> None:
    def handler(argument: Any) -> None:
        raise error

    handler.__annotations__["argument"] = takes
    with pytest.raises(type(error)):
        _deliver(_pipeline(handler), "a")


@pytest.mark.parametrize("takes", [str, Batch[str]])
def test_a_coroutine_that_a_sync_handler_returns_is_no_success(takes: Any) -> None:
    done = []

    async def work() -> None:
        done.append(1)

    def handler(argument: Any) -> Any:
        return work()

    handler.__annotations__["argument"] = takes
    outcome = _deliver(_pipeline(handler), "a")[0]
    assert outcome.disposition is Disposition.RETRY
    assert "work was not done" in str(outcome.error)
    assert done == []


def test_a_future_that_a_sync_handler_returns_is_no_success() -> None:
    class Awaitable:
        def __await__(self) -> Any: ...

    def handler(body: str) -> Any:
        return Awaitable()

    assert _fates(_deliver(_pipeline(handler), "a")) == ["retry"]


def test_a_sync_wrapper_around_an_async_handler_is_awaited() -> None:
    from functools import wraps

    done = []

    async def inner(body: str) -> None:
        await asyncio.sleep(0)
        done.append(body)

    @wraps(inner)
    def outer(body: str) -> Any:
        return inner(body)

    assert _fates(_deliver(_pipeline(outer), "a")) == ["ack"]
    assert done == ["a"]


def test_a_value_that_is_returned_means_nothing() -> None:
    def handler(body: str) -> Any:
        return "dead-letter"

    assert _deliver(_pipeline(handler), "a")[0] is ACK


def test_poison_makes_no_call_and_fails_alone() -> None:
    called = []

    def handler(order: Order) -> None:
        called.append(order.id)

    outcomes = _deliver(_pipeline(handler), '{"id": 1}', SECRET, '{"id": 2}')
    assert _fates(outcomes) == ["ack", "dead-letter", "ack"]
    assert outcomes[1].reason == "poison: the body does not fit Order: body: json_invalid"
    assert called == [1, 2]


@pytest.mark.parametrize("takes", [Order, Batch[Order]])
def test_a_validator_that_raises_anything_else_fails_its_message_alone(takes: Any) -> None:
    def handler(argument: Any) -> None: ...

    handler.__annotations__["argument"] = takes
    outcomes = _deliver(_pipeline(handler), '{"id": 1}', '{"id": 13}', '{"id": 2}')
    assert _fates(outcomes) == ["ack", "retry", "ack"]
    assert outcomes[1].reason == "RuntimeError"


def test_poison_is_taken_out_of_a_batch_first() -> None:
    seen = []

    def handler(batch: Batch[Order]) -> None:
        seen.append([message.body.id for message in batch])
        batch.fail(batch[1], Retry("busy", after=60))

    outcomes = _deliver(_pipeline(handler), "x", '{"id": 1}', "y", '{"id": 2}')
    assert seen == [[1, 2]]
    assert _fates(outcomes) == ["dead-letter", "ack", "dead-letter", "retry"]
    assert outcomes[3].delay == 60


def _unreadable(id: str) -> Message[Any]:
    """A record whose attribute is not what it says, as only a hand or a forger makes one."""
    record = sqs_record("x", id=id, attributes={"count": 7})
    record["messageAttributes"]["count"]["stringValue"] = SECRET
    return Message(record, LAMBDA_RECORD, "orders")


def _readable(id: str) -> Message[Any]:
    return Message(sqs_record("x", id=id, attributes={"count": 7}), LAMBDA_RECORD, "orders")


@pytest.mark.parametrize("shape", ["message", "batch"])
@pytest.mark.parametrize("claims", [False, True])
def test_what_cannot_be_read_is_found_before_the_call_and_is_poison_alone(
    shape: str, claims: bool
) -> None:
    counted: list[int] = []
    claimed: list[Any] = []

    def message(message: Message[bytes]) -> None:
        counted.append(message.attributes["count"])

    def batch(batch: Batch[bytes]) -> None:
        for each in batch:
            message(each)

    class Claims:
        blocking = True

        async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
            claimed.extend(each.id for each in messages if each.decided is None)
            return await call_next(messages)

    pipeline = _pipeline(
        batch if shape == "batch" else message, delivery_middleware=[Claims()] if claims else []
    )

    async def dispatch(messages: Messages) -> Sequence[Outcome]:
        if shape == "batch":
            return await pipeline.run_batch(messages)
        return [await pipeline.run(each) for each in messages]

    sent = [_readable("a"), _unreadable("b"), _readable("c")]
    outcomes = run_blocking("test", pipeline.deliver(sent, dispatch))
    assert _fates(outcomes) == ["ack", "dead-letter", "ack"]
    assert outcomes[1].reason == "poison: a number attribute is not a number"
    assert counted == [7, 7]
    assert claimed == (["a", "c"] if claims else [])


def test_a_decoding_error_that_a_batch_handler_raises_is_no_messages_poison() -> None:
    def handler(batch: Batch[str]) -> None:
        batch.fail(batch[0], BodyDecodeError("this one"))
        raise BodyDecodeError("of something that the handler fetched")

    outcomes = _deliver(_pipeline(handler), "a", "b", "c")
    assert _fates(outcomes) == ["dead-letter", "retry", "retry"]


def test_a_batch_of_nothing_but_poison_makes_no_call() -> None:
    def handler(batch: Batch[Order]) -> None:
        raise AssertionError("called")

    assert _fates(_deliver(_pipeline(handler), "x", "y")) == ["dead-letter"] * 2


def test_raising_retries_all_of_a_batch_that_is_not_marked() -> None:
    def handler(batch: Batch[str]) -> None:
        batch.fail(batch[0], DeadLetter("bad"))
        batch.fail(batch[1], Discard("old"))
        raise ValueError

    outcomes = _deliver(_pipeline(handler), "a", "b", "c", "d")
    assert _fates(outcomes) == ["dead-letter", "ack", "retry", "retry"]
    assert all(isinstance(outcome.error, ValueError) for outcome in outcomes[2:])


def test_the_last_delivery_is_dead_lettered_in_a_batch_too() -> None:
    def handler(batch: Batch[str]) -> None:
        batch.fail(batch[0], ValueError())

    assert _fates(_deliver(_pipeline(handler), "a", "b", deliveries=4)) == ["dead-letter", "ack"]


@pytest.mark.parametrize("takes", [dict[str, Any], Batch[dict[str, Any]]])
def test_an_envelope_is_opened_before_the_middleware_and_the_body(takes: Any) -> None:
    seen: list[Any] = []

    async def look(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        seen.append([(m.payload, m.attributes) for m in messages])
        return await call_next(messages)

    def handler(argument: Any) -> None:
        seen.append(argument[0].body if isinstance(argument, Batch) else argument)

    handler.__annotations__["argument"] = takes
    pipeline = _pipeline(handler, envelope="sns", delivery_middleware=[look])
    assert _deliver(pipeline, sns_notification({"id": 1}, attributes={"kind": "paid"}))[0] is ACK
    assert seen == [[('{"id":1}', {"kind": "paid"})], {"id": 1}]


@pytest.mark.parametrize("middleware", [[], [Around("call", [])]])
@pytest.mark.parametrize("takes", [str, bytes, Message[str], Batch[bytes]])
def test_an_envelope_that_cannot_be_opened_is_poison_alone_and_makes_no_call(
    takes: Any, middleware: Any
) -> None:
    called = []

    def handler(argument: Any) -> None:
        called.append(len(argument) if isinstance(argument, Batch) else 1)

    handler.__annotations__["argument"] = takes
    pipeline = _pipeline(handler, envelope="sns", call_middleware=middleware)
    outcomes = _deliver(pipeline, sns_notification("a"), SECRET, sns_notification("b"))
    assert _fates(outcomes) == ["ack", "dead-letter", "ack"]
    assert outcomes[1].reason == "poison: the body is not an SNS notification: it is not JSON"
    assert sum(called) == 2


def test_an_unopened_message_is_passed_on_so_that_it_is_settled_in_its_turn() -> None:
    def handler(body: str) -> None: ...

    dispatched: list[str] = []
    pipeline = _pipeline(handler, envelope="sns")

    async def dispatch(messages: Messages) -> Sequence[Outcome]:
        dispatched.extend(message.broker_id for message in messages)
        return [await pipeline.run(message) for message in messages]

    messages = [Message.of(SECRET, id="1"), Message.of(sns_notification("a"), id="2")]
    run_blocking("test", pipeline.deliver(messages, dispatch))
    assert dispatched == ["1", "2"]


def test_the_event_with_which_s3_tries_a_notification_makes_no_call() -> None:
    def handler(body: str) -> None:
        raise AssertionError

    (outcome,) = _deliver(_pipeline(handler, envelope="s3"), '{"Event": "s3:TestEvent"}')
    assert str(outcome.disposition) == "ack"
    assert "s3:TestEvent" in outcome.reason


def test_an_envelope_is_opened_once_however_often_it_is_asked_for() -> None:
    def handler(body: str) -> None: ...

    pipeline = _pipeline(handler, envelope=["sns", "sns"])
    message = Message.of(sns_notification(sns_notification("a")))
    later = Message.of(sns_notification(sns_notification("b")))
    pipeline.open([message])
    pipeline.open([message, later])
    assert [(each.payload, each.decided) for each in (message, later)] == [("a", None), ("b", None)]


def test_an_envelope_that_breaks_in_any_other_way_fails_its_message_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(body: str) -> None: ...

    def broken(message: Message[Any]) -> None:
        raise RecursionError

    pipeline = _pipeline(handler, envelope="sns")
    monkeypatch.setattr(pipeline, "_unwrap", broken)
    assert _fates(_deliver(pipeline, "a")) == ["retry"]


def test_middleware_goes_around_outermost_first_and_each_seam_at_its_own_rate() -> None:
    journal: list[str] = []

    def handler(body: str) -> None:
        journal.append(body)

    pipeline = _pipeline(
        handler,
        delivery_middleware=[Around("D1", journal), Around("D2", journal)],
        call_middleware=[Around("C1", journal), Around("C2", journal)],
    )
    assert pipeline.blocking
    assert _fates(_deliver(pipeline, "a", "b")) == ["ack", "ack"]
    calls = [line for body in "ab" for line in ("C1 in 1", "C2 in 1", body, "C2 out", "C1 out")]
    assert journal == ["D1 in 2", "D2 in 2", *calls, "D2 out", "D1 out"]


def test_call_middleware_goes_once_around_a_whole_batch_without_its_poison() -> None:
    journal: list[str] = []

    def handler(batch: Batch[Order]) -> None: ...

    pipeline = _pipeline(handler, call_middleware=[Around("C", journal)])
    assert _fates(_deliver(pipeline, '{"id": 1}', "x", '{"id": 2}')) == [
        "ack",
        "dead-letter",
        "ack",
    ]
    assert journal == ["C in 2", "C out"]


def test_call_middleware_sees_the_decoded_body_and_no_poison() -> None:
    seen: list[Any] = []

    async def look(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        seen.append(messages[0].body)
        return await call_next(messages)

    def handler(order: Order) -> None: ...

    outcomes = _deliver(_pipeline(handler, call_middleware=[look]), '{"id": 1}', "x")
    assert _fates(outcomes) == ["ack", "dead-letter"]
    assert seen == [Order(id=1)]


async def _raises(messages: Messages, call_next: Process) -> Sequence[Outcome]:
    raise RuntimeError(SECRET)


async def _raises_after(messages: Messages, call_next: Process) -> Sequence[Outcome]:
    await call_next(messages)
    raise RuntimeError(SECRET)


async def _too_few(messages: Messages, call_next: Process) -> Sequence[Outcome]:
    return (await call_next(messages))[1:]


async def _nothing(messages: Messages, call_next: Process) -> Any:
    await call_next(messages)


async def _other_things(messages: Messages, call_next: Process) -> Any:
    return [True for _ in messages]


@pytest.mark.parametrize("middleware", [_raises, _raises_after, _too_few, _nothing, _other_things])
@pytest.mark.parametrize("seam", ["delivery_middleware", "call_middleware"])
@pytest.mark.parametrize("takes", [str, Batch[str]])
def test_a_middleware_that_breaks_costs_a_redelivery_and_never_a_message(
    takes: Any, seam: str, middleware: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(argument: Any) -> None: ...

    handler.__annotations__["argument"] = takes
    outcomes = _deliver(_pipeline(handler, **{seam: [middleware]}), "a", "b", deliveries=9)
    assert _fates(outcomes) == ["retry", "retry"]
    assert all(outcome.unrun for outcome in outcomes)
    assert "a middleware" in caplog.text
    assert SECRET not in caplog.text


def test_a_middleware_can_answer_without_passing_messages_on() -> None:
    async def all_known(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        return [ACK for _ in messages]

    def handler(body: str) -> None:
        raise AssertionError("called")

    pipeline = _pipeline(handler, delivery_middleware=[all_known])
    assert not pipeline.blocking
    assert _fates(_deliver(pipeline, "a")) == ["ack"]


@pytest.mark.parametrize("takes", [str, Batch[str]])
@pytest.mark.parametrize("turned_into", [None, ValueError, asyncio.TimeoutError])
def test_a_cancellation_from_outside_is_no_failure_whatever_the_handler_makes_of_it(
    takes: Any, turned_into: type[Exception] | None
) -> None:
    async def handler(argument: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if turned_into:
                raise turned_into from None
            raise

    handler.__annotations__["argument"] = takes
    pipeline = _pipeline(handler)

    async def main() -> None:
        message = Message.of("a", delivery_count=99)
        work = pipeline.run(message) if takes is str else pipeline.run_batch([message])
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_signal_that_a_cancelled_handler_raises_is_still_its_word() -> None:
    async def handler(body: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise DeadLetter("too slow to ever succeed") from None

    pipeline = _pipeline(handler)

    async def main() -> Outcome:
        task = asyncio.ensure_future(pipeline.run(Message.of("a")))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main()).disposition is Disposition.DEAD_LETTER


def test_an_error_that_is_only_called_like_a_cancellation_ends_the_delivery() -> None:
    class CancelledError(BaseException):
        pass

    def handler(body: str) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        _deliver(_pipeline(handler), "a")


def test_a_middleware_that_lied_about_blocking_is_named() -> None:
    async def waits(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        return await call_next(messages)

    waits.blocking = True  # type: ignore[attr-defined]

    def handler(body: str) -> None: ...

    with pytest.raises(RuntimeError, match="said blocking = True and waited"):
        _deliver(_pipeline(handler, delivery_middleware=[waits]), "a")


@pytest.mark.parametrize(
    ("middleware", "sentence", "error_type"),
    [
        (_raises, "to be delivered again: a middleware raised RuntimeError", "RuntimeError"),
        (_too_few, "to be delivered again: a middleware gave 1 outcomes for 2 messages", None),
    ],
)
def test_the_line_on_a_middleware_that_breaks_says_what_it_did_and_to_which_messages(
    middleware: Any, sentence: str, error_type: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(body: str) -> None: ...

    outcomes = _deliver(_pipeline(handler, delivery_middleware=[middleware]), "a", "b")
    assert [outcome.reason for outcome in outcomes] == ["a middleware failed"] * 2
    (line,) = caplog.records
    fields = line.__dict__
    assert f" {sentence}" in f" {line.getMessage()}"
    assert line.getMessage().startswith("2 messages of queue ")
    assert (fields["queue_name"], fields["operation"]) == ("queue", "middleware")
    assert fields.get("error_type") == error_type


def _decoding_first(function: Callable[[Any], Any], **options: Any) -> Pipeline:
    definition = HandlerDefinition(function, **options)
    definition.decodes_first = True
    return Pipeline(definition, RetryPolicy(backoff=Backoff(4, jitter=False)))


@pytest.mark.parametrize("seam", ["delivery_middleware", "call_middleware"])
@pytest.mark.parametrize("is_batch", [False, True])
def test_bodies_that_are_decoded_first_reach_the_handler_and_poison_does_not(
    is_batch: bool, seam: str
) -> None:
    got: list[Any] = []

    def one(order: Order) -> None:
        got.append(order)

    def many(batch: Batch[Order]) -> None:
        got.extend(each.body for each in batch)

    around = {"delivery_middleware": [Around("a", [])], seam: [Around("b", [])]}
    pipeline = _decoding_first(many if is_batch else one, **around)
    outcomes = _deliver(pipeline, '{"id": 1}', "x", '{"id": 13}', '{"id": 2}')
    assert _fates(outcomes) == ["ack", "dead-letter", "retry", "ack"]
    assert got == [Order(id=1), Order(id=2)]


def test_bodies_are_decoded_before_the_delivery_middleware_where_it_needs_them() -> None:
    seen: list[Any] = []

    async def look(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        seen.extend((message.body, message.decided is None) for message in messages)
        return await call_next(messages)

    def handler(order: Order) -> None: ...

    outcomes = _deliver(_decoding_first(handler, delivery_middleware=[look]), '{"id": 1}', "x")
    assert seen == [(Order(id=1), True), (b"x", False)]
    assert _fates(outcomes) == ["ack", "dead-letter"]


def test_bodies_wait_for_the_call_where_nobody_needs_them_before() -> None:
    seen: list[Any] = []

    async def look(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        seen.extend(message.body for message in messages)
        return await call_next(messages)

    def handler(order: Order) -> None: ...

    _deliver(_pipeline(handler, delivery_middleware=[look]), '{"id": 1}')
    assert seen == [b'{"id": 1}']


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_message_that_middleware_decided_makes_no_call_and_keeps_its_outcome(
    is_batch: bool,
) -> None:
    known = unrun("another copy of it is being done")
    got: list[Any] = []

    async def decide(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        messages[0].decided = known
        return await call_next(messages)

    def one(body: str) -> None:
        got.append(body)

    def many(batch: Batch[str]) -> None:
        got.extend(each.body for each in batch)

    handler = many if is_batch else one
    outcomes = _deliver(_decoding_first(handler, delivery_middleware=[decide]), "a", "b")
    assert (outcomes[0], outcomes[1], got) == (known, ACK, ["b"])


class Surrounding:
    """Surrounds calls, and writes down how many messages each had."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    def one(self, run: Run) -> Run:
        async def surrounded(message: Message[Any]) -> Outcome:
            self.journal.append(f"one {message.id}")
            return await run(message)

        return surrounded

    def batch(self, run: RunBatch) -> RunBatch:
        async def surrounded(messages: Messages) -> Sequence[Outcome]:
            self.journal.append(f"batch of {len(messages)}")
            return await run(messages)

        return surrounded


def test_what_surrounds_calls_surrounds_each_of_them() -> None:
    journal: list[str] = []

    def one(body: str) -> None:
        journal.append(body)

    def many(batch: Batch[str]) -> None:
        journal.append(f"{len(batch)} bodies")

    for function in (one, many):
        definition = HandlerDefinition(function)
        around = Surrounding(journal)
        _deliver(Pipeline(definition, RetryPolicy(), around=around), "a", "b")
    assert journal == ["one m1", "a", "one m2", "b", "batch of 2", "2 bodies"]


def test_without_delivery_middleware_a_delivery_is_what_dispatch_makes_of_it() -> None:
    def handler(body: str) -> None: ...

    async def fails(messages: Messages) -> Sequence[Outcome]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_blocking("test", _pipeline(handler).deliver([Message.of("a")], fails))


def test_a_refused_awaitable_says_what_to_write(caplog: pytest.LogCaptureFixture) -> None:
    async def later() -> None: ...

    def handler(body: str) -> Any:
        return later()

    (outcome,) = _deliver(_pipeline(handler), "a")
    assert str(outcome.error) == (
        "the handler returned an awaitable without being async: its work was not done; "
        "write async def, or run it inside"
    )


@pytest.mark.parametrize("signal", [DeadLetter("no customer"), Discard("old")])
def test_a_signal_of_a_cancelled_batch_handler_is_still_its_word(signal: Signal) -> None:
    async def handler(batch: Batch[str]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise signal from None

    async def main() -> Sequence[Outcome]:
        task = asyncio.create_task(_pipeline(handler).run_batch([Message.of("a")]))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main())[0].error is signal


def test_an_envelope_that_cannot_be_opened_keeps_no_later_body_from_being_decoded_first() -> None:
    got: list[Any] = []

    def handler(order: Order) -> None:
        got.append(order)

    options = {"envelope": "sns", "delivery_middleware": [Around("a", [])]}
    outcomes = _deliver(_decoding_first(handler, **options), "x", sns_notification('{"id": 1}'))
    assert _fates(outcomes) == ["dead-letter", "ack"]
    assert got == [Order(id=1)]


def test_a_body_that_is_decoded_first_is_decoded_once() -> None:
    decoded: list[Any] = []

    def handler(body: str) -> None: ...

    def decode(payload: str | bytes) -> Any:
        decoded.append(payload)
        return payload

    definition = HandlerDefinition(handler, delivery_middleware=[Around("a", [])])
    definition.decodes_first, definition.decode = True, decode
    _deliver(Pipeline(definition, RetryPolicy()), "a")
    assert decoded == ["a"]


def test_a_cancellation_of_the_handlers_own_is_the_error_that_is_told() -> None:
    error = asyncio.CancelledError()

    async def handler(body: str) -> None:
        raise error

    (outcome,) = _deliver(_pipeline(handler), "a")
    assert (outcome.error, outcome.reason) == (error, "CancelledError")
