"""Runs a handler as an AWS Lambda function behind an SQS event source."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.clouds.aws import parse_queue_arn, sdk_loaded
from queue_runtime.dispatch import Deadline
from queue_runtime.hosts.aws_lambda.event import read_records, reply
from queue_runtime.hosts.delivery import LARGEST_RESERVE, Arrival, PushDelivery
from queue_runtime.message import Message
from queue_runtime.pipeline import run_blocking
from queue_runtime.settlement.plan import Abilities
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Callable, Coroutine, Sequence

    from queue_runtime.clouds.aws import QueueArn
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.hosts.aws_lambda.event import LambdaReply
    from queue_runtime.outcome import Outcome
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.sqs.delays_and_dead_letters import Clients, SqsSource

# Loading the SDK and making a client, at a whole CPU's speed; Lambda gives one at 1,769 MB
# (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
_SDK_SECONDS: Final = 0.5
_MEMORY_OF_ONE_CPU: Final = 1_769


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Give the time until Lambda ends this invocation."""


class LambdaHost:
    """The entry point that Lambda calls with an event and a context.

    The event source must have `FunctionResponseTypes: [ReportBatchItemFailures]`: without it Lambda
    deletes the whole batch whatever this answers
    (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).

    Args:
        handler: the decorated function.
        settings: None reads file and environment.
        clients: makes an SQS client for a region; None uses the AWS SDK when it is first needed.
        observe: called with all messages and their final outcomes, in the order of the batch.
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
        self.delivery = PushDelivery(
            handler,
            settings=settings,
            host="lambda",
            system="aws_sqs",
            fixed_locks=True,
            completes=False,  # by Lambda, after the reply
            observe=observe,
            clock=clock,
        )
        self.settings, self.definition = self.delivery.settings, self.delivery.definition
        self._make_client = clients
        self._clock = clock
        self._queues: dict[str, QueueArn] = {}
        self._sources: dict[QueueArn, SqsSource] = {}
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
        is_plain = LAMBDA_RECORD.is_plain
        for message, record in zip(messages, records, strict=True):
            if is_plain(record):  # a slot that is full spares the lazy way to it
                message.payload = record["body"]
        deadline = self._deadline(context)
        if self.definition.delivery_middleware:  # for claims, which end with the invocation
            for message in messages:
                message.locked_until = deadline.stop_at + deadline.reserve
        arrival = Arrival(name, deadline, ordered=queue.ordered)
        place = _Place(self._source, queue, deadline)
        outcomes = self._drive(self.delivery.process(messages, arrival, place))
        self.delivery.flush(deadline)
        return reply(records, outcomes)

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
                queue, dead_letter=self.settings.dead_letter, clients=self._make_client
            )
        return source

    def _drive(self, work: Coroutine[Any, Any, Sequence[Outcome]]) -> Sequence[Outcome]:
        if not self.delivery.pipeline.blocking:
            # Not Runner.run: it has a context of its own, where the caller's would be missing, and
            # sets up signals each time.
            return _runner().get_loop().run_until_complete(work)
        return run_blocking(self.definition.name, work)

    def _deadline(self, context: LambdaContext | None) -> Deadline:
        milliseconds = _time_left(context)
        if milliseconds is None:
            return Deadline()
        left = milliseconds / 1000
        reserve = self.settings.reserve_seconds
        if self.delivery.watch is not None:
            reserve += self.settings.flush_seconds
        if not sdk_loaded(sys.modules):
            memory = int(getattr(context, "memory_limit_in_mb", 0) or _MEMORY_OF_ONE_CPU)
            reserve += _SDK_SECONDS * max(1.0, _MEMORY_OF_ONE_CPU / memory)
        reserve = max(0.0, min(reserve, left * LARGEST_RESERVE))
        return Deadline(self._clock() + left - reserve, self._clock, reserve=reserve)

    def _preload(self) -> None:
        if self._make_client is None:
            from queue_runtime.clouds.aws import sqs_client

            client = sqs_client(self.settings.aws_region or "us-east-1")
            self._make_client = lambda region: (
                client if region == client.meta.region_name else sqs_client(region)
            )


def _time_left(context: Any) -> float | None:
    """Ask a context; None, a `{}` and a mock of the user's tests have no clock, so no deadline."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    left = ask() if callable(ask) else None
    return left if isinstance(left, int | float) else None


class _Place:
    """Settles one invocation: Lambda deletes what is not named in the reply, we do the rest."""

    abilities: Final = Abilities()
    acknowledges: Final = False

    __slots__ = ("_deadline", "_queue", "_source")

    def __init__(
        self, source: Callable[[QueueArn], SqsSource], queue: QueueArn, deadline: Deadline
    ) -> None:
        self._source, self._queue, self._deadline = source, queue, deadline

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Send dead-letters and set delays, while there is time."""
        return self._source(self._queue).settle(steps, self._deadline.may_settle)


_kept_runner: Runner | None = None


def _runner() -> Runner:
    """Keep one event loop for the life of the process, so that async clients can be kept too."""
    global _kept_runner
    if _kept_runner is None:
        from asyncio import Runner

        _kept_runner = Runner()
    return _kept_runner
