"""What is done to an SQS queue's messages besides deleting them: delays and dead-letters."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.clouds.aws import error_code, queue_arn, queue_url, sqs_client
from queue_runtime.errors import MissingExtraError, QueueNotFoundError
from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.settlement.lineage import dead_letter_facts
from queue_runtime.transports.sqs import batch_calls as sqs_calls
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD, copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.clouds.aws import QueueArn
    from queue_runtime.message import Message
    from queue_runtime.transports.sqs.wire import SqsWire

Clients: TypeAlias = "Callable[[str], Any]"

# 12 hours, less the 300 s that a batching window and the 900 s that a function may have used of it
# (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html).
LONGEST_DELAY: Final = 43_200 - 1_200

_NO_COPY: Final = "no copy of it with an attribute of ours can be sent"


class SqsSource:
    """The queue that messages came from, and the one that its dead-letters go to.

    Args:
        queue: where the messages came from.
        dead_letter: a name, ARN or URL; None leaves dead-letters to the queue's redrive policy.
        handler: the handler's name, for the dead-letter entry.
        error_text: whether the exception's own text may be in that entry.
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
        handler: str,
        error_text: bool = True,
        clients: Clients | None = None,
        wire: SqsWire = LAMBDA_RECORD,
    ) -> None:
        self.queue = queue
        self._handler = handler
        self._error_text = error_text
        self._wire = wire
        self._make_client: Clients = clients or sqs_client
        self._clients: dict[str, Any] = {}
        self.dead_letter = queue_arn(dead_letter, queue) if dead_letter else None
        if self.dead_letter == queue:
            raise QueueNotFoundError(
                f"the dead-letter queue of {queue.name} is the queue itself: set "
                "QUEUE_DLQ_NAME or dead_letter= to another one"
            )

    async def dead_letter_now(self, message: Message[Any], outcome: Outcome) -> Outcome:
        """Settle one dead-letter while its group waits."""
        return self._dead_lettered([message], [outcome], lambda: True)[0]

    def settle(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        in_time: Callable[[], bool] = lambda: True,
    ) -> list[Outcome]:
        """Send dead-letters and set delays; what cannot be dead-lettered becomes a retry.

        No request is begun once `in_time` says no: with 10,000 messages to give back, a thousand
        of them could outlast the invocation, and then even what is done would come back.
        """
        final = list(outcomes)
        dead = [
            at
            for at, outcome in enumerate(outcomes)
            if outcome.disposition is Disposition.DEAD_LETTER and not outcome.settled
        ]
        if dead:
            answers = self._dead_lettered(
                [messages[at] for at in dead], [final[at] for at in dead], in_time
            )
            for at, answer in zip(dead, answers, strict=True):
                final[at] = answer
        self._delay(messages, final, in_time)
        return final

    def _client(self, region: str) -> Any | None:
        if region not in self._clients:
            try:
                self._clients[region] = self._make_client(region)
            except Exception as error:
                why = str(error) if isinstance(error, MissingExtraError) else error_code(error)
                if why is None:
                    raise
                sentence = f"delays and dead-letters are left to the queue itself: {why}"
                events.say_once(self.queue.name, "aws_sdk", sentence)
                return None
        return self._clients[region]

    def _dead_lettered(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        in_time: Callable[[], bool],
    ) -> list[Outcome]:
        answers = self.send_dead_letters(messages, outcomes, in_time)
        return [
            _carried_out(outcome) if why is None else _retried(outcome, why)
            for outcome, why in zip(outcomes, answers, strict=True)
        ]

    def send_dead_letters(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        in_time: Callable[[], bool] = lambda: True,
    ) -> list[str | None]:
        """Send copies to the dead-letter queue; gives why each was not sent, None where it was."""
        if self.dead_letter is None:
            events.say_once(
                self.queue.name,
                "dead_letter_target",
                "no dead-letter queue is configured (QUEUE_DLQ_NAME or dead_letter=), so messages "
                "to be dead-lettered are retried until the queue's redrive policy moves them",
            )
            return ["no dead-letter queue is configured"] * len(messages)
        entries = {
            at: entry
            for at, (message, outcome) in enumerate(zip(messages, outcomes, strict=True))
            if (entry := self._entry(message, outcome))
        }
        failed = self._send(list(entries.values()), in_time)
        sent = {at: failed.get(n) for n, at in enumerate(entries)}
        return [sent.get(at, _NO_COPY) for at in range(len(messages))]

    def _entry(self, message: Message[Any], outcome: Outcome) -> dict[str, Any] | None:
        facts = dead_letter_facts(
            message, outcome, handler=self._handler, error_text=self._error_text
        )
        fifo = self.dead_letter is not None and self.dead_letter.ordered
        return copy_of(message, self._wire, facts, fifo=fifo)

    def _send(self, entries: list[dict[str, Any]], in_time: Callable[[], bool]) -> dict[int, str]:
        target = self.dead_letter
        if not entries or target is None:
            return {}
        client = self._client(target.region)
        if client is None:
            return dict.fromkeys(range(len(entries)), "there is no SQS client")
        return sqs_calls.send(client, queue_url(client, target), entries, in_time)

    def _delay(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        in_time: Callable[[], bool],
    ) -> None:
        delayed = [
            (message, min(ceil(outcome.delay), LONGEST_DELAY))
            for message, outcome in zip(messages, outcomes, strict=True)
            if outcome.disposition is Disposition.RETRY and outcome.delay is not None
        ]
        client = self._client(self.queue.region) if delayed else None
        if client is None:
            return
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
        for at, code in failed.items():
            if code == sqs_calls.NO_TIME:
                continue
            events.warning(
                delayed[at][0],
                "abandon",
                "comes back at the queue's own visibility timeout: its retry delay could not be "
                "set (%s); sqs:ChangeMessageVisibility is needed for it",
                code,
            )


def _retried(outcome: Outcome, why: str) -> Outcome:
    return Outcome(
        Disposition.RETRY,
        reason=f"{outcome.reason} (not dead-lettered: {why})",
        error=outcome.error,
    )


def _carried_out(outcome: Outcome) -> Outcome:
    outcome.settled = True
    return outcome
