"""Runs a handler as an AWS Lambda function behind an SQS event source."""

from __future__ import annotations

import sys
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict

from queue_runtime.clouds.aws import parse_queue_arn, sdk_loaded
from queue_runtime.config import load_settings
from queue_runtime.definition import Shape
from queue_runtime.dispatch import Deadline, Order, as_one, at_once, in_turn
from queue_runtime.errors import EventError
from queue_runtime.message import Message
from queue_runtime.observability.events import GroupsOfDelivery, events
from queue_runtime.outcome import ACK, Disposition, Outcome, unrun
from queue_runtime.pipeline import Pipeline, run_blocking
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from queue_runtime.breaker import Breaker
    from queue_runtime.clouds.aws import QueueArn
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.dispatch import DeadLetterNow
    from queue_runtime.middleware import Messages, Process
    from queue_runtime.observability.telemetry import Watch
    from queue_runtime.transports.sqs.delays_and_dead_letters import Clients, SqsSource

# Loading the SDK and making a client, at a whole CPU's speed; Lambda gives one at 1,769 MB
# (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
_SDK_SECONDS: Final = 0.5
_MEMORY_OF_ONE_CPU: Final = 1_769
# The reserve never takes more than this part of an invocation, or nothing would ever start.
_LARGEST_RESERVE: Final = 0.25


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Give the time until Lambda ends this invocation."""


class ItemFailure(TypedDict):
    """One message that Lambda must not delete."""

    itemIdentifier: str


class LambdaReply(TypedDict):
    """The answer to an SQS event source with ReportBatchItemFailures."""

    batchItemFailures: list[ItemFailure]


class LambdaHost:
    """The entry point that Lambda calls with an event and a context.

    The event source must have `FunctionResponseTypes: [ReportBatchItemFailures]`: without it Lambda
    deletes the whole batch whatever this answers
    (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).

    Args:
        handler: the decorated function.
        settings: None reads file and environment.
        clients: makes an SQS client for a region; None uses the AWS SDK when it is first needed.
        observe: told each message with its final outcome, in the order of the batch.
        clock: what the deadline is counted by; must run as fast as the context's time does.
    """

    def __init__(
        self,
        handler: Handles,
        *,
        settings: Settings | None = None,
        clients: Clients | None = None,
        observe: Callable[[Sequence[Message[Any]], Sequence[Outcome]], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.settings = settings or load_settings(handler.definition.settings)
        self.definition = handler.definition.bound(self.settings, fixed_locks=True)
        self.pipeline = Pipeline(self.definition, self.definition.policy(self.settings))
        self._make_client = clients
        self._observe = observe
        self._clock = clock
        self._breaker = self._new_breaker() if self.settings.breaker_failures else None
        self._watch: Watch | None = None
        if self.settings.logs or self.settings.metrics or self.settings.tracing:
            self._watch = self._new_watch()
        self._queues: dict[str, QueueArn] = {}
        self._sources: dict[QueueArn, SqsSource] = {}
        for sentence in (*self.settings.warnings, *self.settings.unusable_on("lambda")):
            events.warning(self.settings.queue, "settings", "%s", sentence)
        if self.settings.preload == "init":
            self._preload()

    def __call__(self, event: Any, context: LambdaContext | None) -> LambdaReply:
        """Process one batch and name exactly the messages that must come back.

        Raises:
            EventError: this is not an SQS event, or a record cannot be told from another; nothing
                has run then, and the whole batch comes back.
        """
        records = read_records(event)
        if not records:
            return {"batchItemFailures": []}
        queue = self._queue(records[0]["eventSourceARN"])
        name = queue.name
        messages: list[Message[Any]] = [Message(r, LAMBDA_RECORD, name) for r in records]
        events.received(name, messages)
        if self.definition.decode is not None:  # a slot that is full spares the lazy way to it
            for message, record in zip(messages, records, strict=True):
                message.payload = record["body"]
        deadline = self._deadline(context)
        if self.definition.delivery_middleware:  # for claims, which end with the invocation
            for message in messages:
                message.locked_until = deadline.stop_at + deadline.reserve
        if self._watch is None and not events.watching:
            outcomes = self._outcomes(queue, messages, deadline)
        else:
            outcomes = self._watched_outcomes(queue, messages, deadline)
        if self._observe:
            events.observe(messages, self._observe, messages, outcomes)
        return _reply(records, outcomes)

    def _outcomes(
        self, queue: QueueArn, messages: Sequence[Message[Any]], deadline: Deadline
    ) -> Sequence[Outcome]:
        groups = GroupsOfDelivery(queue.name, messages) if queue.ordered else None
        outcomes = self._process(messages, self._dispatch(queue, deadline))
        seconds = 0.0
        if outcomes.count(ACK) < len(outcomes):
            started = perf_counter()
            outcomes = self._source(queue).settle(messages, outcomes, deadline.may_settle)
            seconds = perf_counter() - started
            events.settle_request(queue.name, seconds)
        events.settled(queue.name, messages, outcomes, seconds)
        if groups is not None:
            groups.ended(messages, outcomes)
        return outcomes

    def _watched_outcomes(
        self, queue: QueueArn, messages: Sequence[Message[Any]], deadline: Deadline
    ) -> Sequence[Outcome]:
        watch = self._watch = self._watch or self._new_watch()
        with watch.delivery(queue.name, messages):
            outcomes = self._outcomes(queue, messages, deadline)
        watch.flush(min(self.settings.flush_seconds, deadline.left() + deadline.reserve))
        return outcomes

    def _new_watch(self) -> Watch:
        from queue_runtime.observability.telemetry import (
            watch_for,  # most functions have none of it
        )

        # What is completed is deleted by Lambda, after the reply.
        watch = watch_for(self.settings, self.definition, "aws_sqs", completes=False)
        watch.around(self.pipeline)
        return watch

    def _process(self, messages: Sequence[Message[Any]], dispatch: Process) -> Sequence[Outcome]:
        breaker = self._breaker
        if breaker is None:
            return self._drive(self.pipeline.deliver(messages, dispatch))
        breaker.queue = messages[0].queue
        wait = breaker.wait()
        if wait > 0:
            return [unrun("the circuit breaker is open", delay=wait)] * len(messages)
        tried = messages[:1] if breaker.on_trial() else messages
        outcomes = self._drive(self.pipeline.deliver(tried, dispatch))
        for outcome in outcomes:
            breaker.record(outcome)
        if len(tried) == len(messages):
            return outcomes
        # The rest waits for the trial: as long as its message where that failed, for order's sake.
        rest = unrun("the circuit breaker lets one message try", delay=outcomes[0].delay or 0.0)
        return [*outcomes, *[rest] * (len(messages) - 1)]

    def _new_breaker(self) -> Breaker:
        from queue_runtime.breaker import Breaker

        return Breaker.of(self.settings, self._clock)

    def _queue(self, arn: str) -> QueueArn:
        queue = self._queues.get(arn)
        if queue is None:
            queue = parse_queue_arn(arn)
            if queue.ordered:
                self.definition.refuse_order(queue.name)
            if self.settings.dead_letter is not None:
                self._source(queue)  # now, so that a wrong name fails before anything has run
            self._queues[arn] = queue
        return queue

    def _source(self, queue: QueueArn) -> SqsSource:
        source = self._sources.get(queue)
        if source is None:
            # Not before something has to be done: an invocation without a failure never loads it.
            from queue_runtime.transports.sqs.delays_and_dead_letters import SqsSource

            source = self._sources[queue] = SqsSource(
                queue,
                dead_letter=self.settings.dead_letter,
                handler=self.definition.name,
                error_text=self.settings.error_text,
                clients=self._make_client,
            )
        return source

    def _dispatch(self, queue: QueueArn, deadline: Deadline) -> Process:
        definition, run = self.definition, self.pipeline.run
        order = Order(self._dead_letter_now(queue)) if queue.ordered else None

        def dispatch(messages: Messages) -> Coroutine[Any, Any, Sequence[Outcome]]:
            if definition.shape is Shape.BATCH:
                return as_one(
                    messages,
                    self.pipeline.run_batch,
                    deadline,
                    is_async=definition.is_async,
                    order=order,
                )
            if not definition.is_async:
                return in_turn(messages, run, deadline, order)
            return at_once(
                messages, run, deadline, concurrency=self.settings.concurrency, order=order
            )

        return dispatch

    def _dead_letter_now(self, queue: QueueArn) -> DeadLetterNow:
        async def settle(message: Message[Any], outcome: Outcome) -> Outcome:
            return await self._source(queue).dead_letter_now(message, outcome)

        return settle

    def _drive(self, work: Coroutine[Any, Any, Sequence[Outcome]]) -> Sequence[Outcome]:
        if not self.pipeline.blocking:
            # Not Runner.run: it has a context of its own, where the caller's would be missing, and
            # sets up signals each time.
            return _runner().get_loop().run_until_complete(work)
        return run_blocking(self.definition.name, work)

    def _deadline(self, context: LambdaContext | None) -> Deadline:
        if context is None:
            return Deadline()
        left = context.get_remaining_time_in_millis() / 1000
        reserve = self.settings.reserve_seconds
        if self._watch is not None:
            reserve += self.settings.flush_seconds
        if not sdk_loaded(sys.modules):
            memory = int(getattr(context, "memory_limit_in_mb", 0) or _MEMORY_OF_ONE_CPU)
            reserve += _SDK_SECONDS * max(1.0, _MEMORY_OF_ONE_CPU / memory)
        reserve = max(0.0, min(reserve, left * _LARGEST_RESERVE))
        return Deadline(self._clock() + left - reserve, self._clock, reserve=reserve)

    def _preload(self) -> None:
        if self._make_client is None:
            from queue_runtime.clouds.aws import sqs_client

            client = sqs_client(self.settings.aws_region or "us-east-1")
            self._make_client = lambda region: (
                client if region == client.meta.region_name else sqs_client(region)
            )


def read_records(event: Any) -> list[dict[str, Any]]:
    """Check an SQS event before anything of it runs.

    Raises:
        EventError: with what is wrong, and in which record.
    """
    if not isinstance(event, dict):
        raise EventError(f"the event is a {type(event).__name__}, not an SQS event object")
    records = event.get("Records")
    if not isinstance(records, list):
        raise EventError(
            "the event has no list of Records: this function must be invoked by an SQS event "
            "source mapping, or by hand with an event of that shape"
        )
    first = records[0] if records else None
    arn = first.get("eventSourceARN") if isinstance(first, dict) else None
    for record in records:
        try:
            if (
                record["messageId"]
                and record["receiptHandle"]
                and record["eventSource"] == "aws:sqs"
                and record["eventSourceARN"] == arn
                and isinstance(arn, str)
                and arn
                and isinstance(record["body"], str)
            ):
                continue
        except (KeyError, TypeError):
            pass
        position = next(at for at, each in enumerate(records, start=1) if each is record)
        raise EventError(f"record {position} of {len(records)}: {_what_is_wrong(record, arn)}")
    return records


def _what_is_wrong(record: Any, arn: Any) -> str:
    if not isinstance(record, dict):
        return f"it is a {type(record).__name__}, not an object"
    if record.get("eventSource") != "aws:sqs":
        return f"it comes from {record.get('eventSource')!r}, not from aws:sqs"
    for name in ("messageId", "receiptHandle", "eventSourceARN"):
        if not isinstance(record.get(name), str) or not record[name]:
            return f"it has no {name}, so it could not be told from the others in a reply"
    if record["eventSourceARN"] != arn:
        return f"it comes from {record['eventSourceARN']}, the first one from {arn}"
    return "it has no body"


def _reply(records: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> LambdaReply:
    if outcomes.count(ACK) == len(outcomes):
        return {"batchItemFailures": []}
    # Ids come from nowhere but the records: an unknown or empty one fails the whole batch.
    failed = {
        record["messageId"]: None
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome.disposition is Disposition.RETRY
    }
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}


_kept_runner: Runner | None = None


def _runner() -> Runner:
    """Keep one event loop for the life of the process, so that async clients can be kept too."""
    global _kept_runner
    if _kept_runner is None:
        from asyncio import Runner

        _kept_runner = Runner()
    return _kept_runner
