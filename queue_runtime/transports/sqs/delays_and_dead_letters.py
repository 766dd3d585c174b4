"""Delays retries and sends dead-letters for one SQS queue."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.clouds.aws import error_code, queue_arn, queue_url, sqs_client
from queue_runtime.errors import MissingExtraError, QueueNotFoundError, TransportError
from queue_runtime.observability.events import events
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.settlement.plan import Action
from queue_runtime.transports.sqs import batch_calls as sqs_calls
from queue_runtime.transports.sqs.errors import not_dead_lettered, of_delay
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD, copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.clouds.aws import QueueArn
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.sqs.wire import SqsWire

Clients: TypeAlias = "Callable[[str], Any]"

# 12 hours, less the 300 s that a batching window and the 900 s that a function may have used of it
# (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html).
LONGEST_DELAY: Final = 43_200 - 1_200

_NO_CLIENT: Final = "there is no SQS client"
_NO_COPY: Final = "no copy of it with an attribute of ours can be sent"


class SqsSource:
    """The queue that messages came from, and the one that its dead-letters go to.

    Args:
        queue: where the messages came from.
        dead_letter: a name, ARN or URL; None leaves dead-letters to the queue's redrive policy.
        clients: makes a client for a region; None uses the AWS SDK.
        wire: how the messages are written down.

    Raises:
        QueueNotFoundError: `dead_letter` is no queue, or is the queue itself.
    """

    def __init__(
        self,
        queue: QueueArn,
        *,
        dead_letter: str | None,
        clients: Clients | None = None,
        wire: SqsWire = LAMBDA_RECORD,
    ) -> None:
        self.queue = queue
        self._wire = wire
        self._make_client: Clients = clients or sqs_client
        self._clients: dict[str, Any] = {}
        self.dead_letter = queue_arn(dead_letter, queue) if dead_letter else None
        if self.dead_letter == queue:
            raise QueueNotFoundError(
                f"the dead-letter queue of {queue.name} is the queue itself: set "
                "QUEUE_DLQ_NAME or dead_letter= to another one"
            )

    def settle(
        self, steps: Sequence[Step], in_time: Callable[[], bool] = lambda: True
    ) -> list[SettleFailure]:
        """Send dead-letters and set delays; what is done, and what was sent, is Lambda's to delete.

        No request is begun once `in_time` says no: with 10,000 messages to give back, a thousand
        of them could outlast the invocation, and then even what is done would come back.
        """
        dead = [step for step in steps if step.action is Action.DEAD_LETTER]
        whys = self.send_dead_letters(dead, in_time) if dead else []
        failures = [
            SettleFailure(step.message, not_dead_lettered(why, str(self.dead_letter)))
            for step, why in zip(dead, whys, strict=True)
            if why is not None
        ]
        return failures + self._delay(steps, in_time)

    def _client(self, region: str) -> Any | None:
        if region not in self._clients:
            try:
                self._clients[region] = self._make_client(region)
                name = self.queue.name
                events.debug(name, "connect", "SQS is asked in %s for %s", region, name)
            except Exception as error:
                why = str(error) if isinstance(error, MissingExtraError) else error_code(error)
                if why is None:
                    raise
                sentence = f"delays and dead-letters are left to the queue itself: {why}"
                events.say_once(self.queue.name, "aws_sdk", sentence)
                return None
        return self._clients[region]

    def send_dead_letters(
        self, steps: Sequence[Step], in_time: Callable[[], bool] = lambda: True
    ) -> list[str | None]:
        """Send copies to the dead-letter queue; gives why each was not sent, None where it was."""
        if self.dead_letter is None:
            events.say_once(
                self.queue.name,
                "dead_letter_target",
                "no dead-letter queue is configured (QUEUE_DLQ_NAME or dead_letter=), so messages "
                "to be dead-lettered are retried until the queue's redrive policy moves them",
            )
            return ["no dead-letter queue is configured"] * len(steps)
        entries = {at: entry for at, step in enumerate(steps) if (entry := self._entry(step))}
        failed = self._send(list(entries.values()), in_time)
        sent = {at: failed.get(n) for n, at in enumerate(entries)}
        return [sent.get(at, _NO_COPY) for at in range(len(steps))]

    def _entry(self, step: Step) -> dict[str, Any] | None:
        fifo = self.dead_letter is not None and self.dead_letter.ordered
        return copy_of(step.message, self._wire, step.facts or (), fifo=fifo)

    def _send(self, entries: list[dict[str, Any]], in_time: Callable[[], bool]) -> dict[int, str]:
        target = self.dead_letter
        if not entries or target is None:
            return {}
        client = self._client(target.region)
        if client is None:
            return dict.fromkeys(range(len(entries)), _NO_CLIENT)
        return sqs_calls.send(client, queue_url(client, target), entries, in_time).failed

    def _delay(self, steps: Sequence[Step], in_time: Callable[[], bool]) -> list[SettleFailure]:
        delayed = [
            (step.message, min(ceil(step.delay), LONGEST_DELAY))
            for step in steps
            if step.action is Action.GIVE_BACK and step.delay is not None
        ]
        if not delayed:
            return []
        client = self._client(self.queue.region)
        if client is None:
            return [SettleFailure(message, TransportError(_NO_CLIENT)) for message, _ in delayed]
        changes = [(message.receipt, seconds) for message, seconds in delayed]
        url = queue_url(client, self.queue)
        failed = sqs_calls.change_visibility(client, url, changes, in_time)
        if sqs_calls.NO_TIME in failed.values():
            events.say_once(
                self.queue.name,
                "settle_time",
                "there was no time left to set every retry delay: messages come back when the "
                "queue's visibility timeout ends; raise QUEUE_RESERVE_SECONDS, or make batches "
                "smaller",
            )
        return [SettleFailure(delayed[at][0], of_delay(code)) for at, code in failed.items()]
