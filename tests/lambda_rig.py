"""What tests of the Lambda host share: a clock, a context, an SQS client that keeps its calls."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore.exceptions import ClientError

from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda import host as lambda_host
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.testing import sqs_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from queue_runtime.definition import Handles
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome

ACCOUNT = "123456789012"
ENDPOINT = "https://sqs.us-east-1.amazonaws.com"


class Clock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class LoopInTestTime(asyncio.SelectorEventLoop):
    """An event loop that does not wait for its next timer, but moves the test's clock to it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        selector: Any = vars(self)["_selector"]
        really_select = selector.select

        def select(timeout: float | None) -> Any:
            ready = really_select(0)
            if not ready and timeout is None:
                raise AssertionError("everything waits, and nothing is ever going to happen")
            if not ready and timeout:
                clock.advance(timeout)
            return ready

        selector.select = select

    def time(self) -> float:
        return self._clock()


@contextmanager
def loop_in_test_time(clock: Clock) -> Iterator[None]:
    """Let the Lambda host run async handlers by the test's clock."""
    with (
        asyncio.Runner(loop_factory=lambda: LoopInTestTime(clock)) as runner,
        mock.patch.object(lambda_host, "_kept_runner", runner),
    ):
        yield


class Context:
    """A Lambda context that counts by a test's clock."""

    def __init__(self, clock: Clock, seconds: float, memory: int = 1769) -> None:
        self.memory_limit_in_mb = memory
        self._clock = clock
        self._ends = clock() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._ends - self._clock()) * 1000)


class Sqs:
    """Stands at the outermost edge, where botocore's client would be, and says what it is told.

    `refuse` has error codes by the body of a send or the receipt of a visibility change; `forget`
    has those that the answer leaves out; `broken` fails each whole request.
    """

    def __init__(
        self,
        *,
        refuse: dict[str, str] | None = None,
        forget: Iterable[str] = (),
        broken: Exception | None = None,
        journal: list[str] | None = None,
    ) -> None:
        self.meta = SimpleNamespace(endpoint_url=ENDPOINT, region_name="us-east-1")
        self.calls: list[tuple[str, str, list[dict[str, Any]]]] = []
        self.regions: list[str] = []
        self.journal = [] if journal is None else journal
        self._refuse, self._forget, self._broken = refuse or {}, set(forget), broken

    def __call__(self, region: str) -> Sqs:
        self.regions.append(region)
        return self

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:
        self.journal += [f"sent {entry['MessageBody']}" for entry in Entries]
        return self._answer("send", QueueUrl, Entries, "MessageBody")

    def change_message_visibility_batch(
        self, *, QueueUrl: str, Entries: list[dict[str, Any]]
    ) -> Any:
        return self._answer("visibility", QueueUrl, Entries, "ReceiptHandle")

    def _answer(self, operation: str, url: str, entries: list[dict[str, Any]], key: str) -> Any:
        assert 1 <= len(entries) <= 10
        assert len({entry["Id"] for entry in entries}) == len(entries)
        self.calls.append((operation, url, entries))
        if self._broken:
            raise self._broken
        answer: dict[str, list[dict[str, str]]] = {"Successful": [], "Failed": []}
        for entry in entries:
            if entry[key] in self._refuse:
                answer["Failed"].append({"Id": entry["Id"], "Code": self._refuse[entry[key]]})
            elif entry[key] not in self._forget:
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [entry for name, _, entries in self.calls if name == "send" for entry in entries]

    @property
    def visibility(self) -> dict[str, int]:
        """Seconds by receipt."""
        return {
            entry["ReceiptHandle"]: entry["VisibilityTimeout"]
            for name, _, entries in self.calls
            if name == "visibility"
            for entry in entries
        }


def refused(code: str = "AccessDenied") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "AnyOperation")


class Invocation:
    """What one invocation came to: the ids in the reply, and each message's outcome."""

    def __init__(self, reply: Any, seen: list[tuple[Message[Any], Outcome]], sqs: Sqs) -> None:
        self.failed = [item["itemIdentifier"] for item in reply["batchItemFailures"]]
        self.messages = [message for message, _ in seen]
        self.outcomes = [outcome for _, outcome in seen]
        self.sqs = sqs

    @property
    def fates(self) -> list[str]:
        return [str(outcome.disposition) for outcome in self.outcomes]


class Rig:
    """One handler's Lambda host over a recording client, by a clock of the test's."""

    def __init__(
        self,
        handler: Handles,
        *,
        sqs: Sqs | None = None,
        clock: Clock | None = None,
        **settings: object,
    ) -> None:
        self.sqs = sqs or Sqs()
        self.clock = clock or Clock()
        self._seen: list[tuple[Message[Any], Outcome]] = []
        self.host = LambdaHost(
            handler,
            settings=load_settings(handler.definition.settings, environ={}, arguments=settings),
            clients=self.sqs,
            observe=lambda messages, outcomes: self._seen.extend(
                zip(messages, outcomes, strict=True)
            ),
            clock=self.clock,
        )

    def __call__(self, *records: dict[str, Any], seconds: float = 30.0) -> Invocation:
        self._seen.clear()
        reply = self.host({"Records": list(records)}, Context(self.clock, seconds))
        return Invocation(reply, list(self._seen), self.sqs)


def records(*bodies: Any, queue: str = "orders", **options: Any) -> list[dict[str, Any]]:
    """One record a body, with ids m1, m2… and receipts r1, r2…."""
    made = []
    for position, body in enumerate(bodies, start=1):
        record = sqs_record(body, id=f"m{position}", queue=queue, position=position, **options)
        made.append({**record, "receiptHandle": f"r{position}"})
    return made


def fifo(*pairs: tuple[str, Any], **options: Any) -> list[dict[str, Any]]:
    """Records of a FIFO queue, from pairs of group and body."""
    made = records(*(body for _, body in pairs), queue="orders.fifo", **options)
    for record, (group, _) in zip(made, pairs, strict=True):
        record["attributes"]["MessageGroupId"] = group
    return made
