"""Request bodies that no SDK would build: always an answer, never a crash."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.brokers.sqs.account import Account
from tests.brokers.sqs.api import Api
from tests.brokers.sqs.clock import stopped_clock
from tests.brokers.sqs.faults import Faults
from tests.brokers.sqs.http import Request, Response
from tests.brokers.sqs.journal import Journal
from tests.brokers.sqs.polls import LongPolls
from tests.brokers.sqs.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = [
    "SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch",
    "ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "GetQueueAttributes",
    "SetQueueAttributes", "GetQueueUrl", "CreateQueue", "PurgeQueue",
]  # fmt: skip
URLS = ["http://h/123456789012/orders", "http://h/123456789012/orders.fifo"]

# Text with what JSON can spell and UTF-8 cannot: lone halves of surrogate pairs.
text = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["a", "true", "-1", "1e999", "AA==", "String", "Binary", "Number", "All", "arn:aws:x"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
attribute = st.fixed_dictionaries(
    {}, optional={name: text | anything for name in ("DataType", "StringValue", "BinaryValue")}
)
redrive = st.fixed_dictionaries(
    {}, optional={"deadLetterTargetArn": anything, "maxReceiveCount": anything}
).map(json.dumps)
queue_attribute_names = st.sampled_from(
    ["DelaySeconds", "FifoQueue", "VisibilityTimeout", "RedrivePolicy", "QueueArn", "Policy"]
)
member = {
    "MessageBody": text,
    "MessageGroupId": text,
    "MessageDeduplicationId": text,
    "ReceiveRequestAttemptId": text,
    "ReceiptHandle": text,
    "QueueName": text,
    "Id": st.sampled_from(["a", "b", "a b"]),
    "DelaySeconds": st.integers(-1, 901),
    "VisibilityTimeout": st.integers(-1, 43201),
    "MaxNumberOfMessages": st.integers(0, 11),
    "WaitTimeSeconds": st.integers(-1, 21),
    "MessageAttributes": st.dictionaries(text, attribute, max_size=3),
    "MessageSystemAttributes": st.dictionaries(
        text | st.just("AWSTraceHeader"), attribute, max_size=2
    ),
    "AttributeNames": st.lists(text, max_size=3),
    "MessageAttributeNames": st.lists(text, max_size=3),
    "Attributes": st.dictionaries(queue_attribute_names | text, text | redrive, max_size=3),
}
members = {name: valid | anything for name, valid in member.items()}
bodies = st.fixed_dictionaries(
    {"QueueUrl": st.sampled_from(URLS) | anything},
    optional=members
    | {"Entries": st.lists(st.fixed_dictionaries({}, optional=members), max_size=4) | anything},
)


class Bench:
    """The service without sockets; its long polls are never awaited."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        clock, journal, faults = stopped_clock(), Journal(), Faults()
        account = Account(clock, journal)
        account.create("orders", {})
        account.create("orders.fifo", {"FifoQueue": "true"})
        api = Api(account, LongPolls(loop, clock), faults, "http://h")
        self._service = Service(api, faults, journal, clock)

    def ask(self, call: str, body: bytes) -> int | None:
        """The status of the reply, or None for one that waits."""
        headers = {"x-amz-target": f"AmazonSQS.{call}"}
        reply: Any = self._service.respond(Request("POST", "/", headers, body, keep_alive=True))
        if not isinstance(reply, Response):
            reply.close()
            return None
        json.loads(reply.body)
        reply.encode(keep_alive=True)
        return reply.status


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


@given(call=st.sampled_from(CALLS), members=bodies)
@settings(max_examples=600, deadline=None)
def test_any_members_are_answered(bench: Bench, call: str, members: Any) -> None:
    status = bench.ask(call, json.dumps(members).encode())
    assert status in (200, 400, 403) or (status is None and call == "ReceiveMessage")


@given(
    call=st.sampled_from(CALLS),
    body=st.binary(max_size=60) | anything.map(json.dumps).map(str.encode),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_answered(bench: Bench, call: str, body: bytes) -> None:
    assert bench.ask(call, body) == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"QueueUrl": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"null",
        b'{"QueueUrl": "\\ud800"}',
    ],
)
def test_bodies_made_to_hurt_are_refused(bench: Bench, body: bytes) -> None:
    assert bench.ask("SendMessage", body) == 400


def test_an_unknown_call_is_refused(bench: Bench) -> None:
    assert bench.ask("DeleteQueue", b"{}") == 400
