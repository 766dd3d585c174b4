"""A new host is decoding and encoding: the toy one has all that the others have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queue_runtime import Batch, DeadLetter, Discard, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from tests.hosts.toy_host import ToyHost


def decide(body: str) -> None:
    if body == "busy":
        raise Retry("busy", after=30)
    if body == "bad":
        raise DeadLetter("bad")
    if body == "old":
        raise Discard("old")


@queue_handler
def sync(message: Message[str]) -> None:
    decide(message.body)


@queue_handler
async def in_loop(message: Message[str]) -> None:
    decide(message.body)


@queue_handler(batch_order="accept_repeats")
def batched(batch: Batch[str]) -> None:
    for message in batch:
        try:
            decide(message.body)
        except Exception as error:
            batch.fail(message, error)


EVERY_KIND = pytest.mark.parametrize("handler", [sync, in_loop, batched])


def posted(host: ToyHost, *bodies: str, seconds: float = 30.0, **fields: Any) -> list[Any]:
    raws = [{"id": f"m{at}", "body": body, **fields} for at, body in enumerate(bodies)]
    answers = json.loads(host.post(json.dumps(raws), seconds))
    return [answer.get("again", "done") for answer in answers]


@EVERY_KIND
def test_every_message_has_its_own_outcome(handler: Any) -> None:
    host = ToyHost(handler)
    assert posted(host, "good", "busy", "bad", "old") == ["done", 30.0, "done", "done"]
    assert json.loads(host.answers.dead["m2"])["reason"] == "bad"


@EVERY_KIND
def test_groups_stop_at_their_first_retry(handler: Any) -> None:
    host = ToyHost(handler, ordered=True)
    assert posted(host, "bad", "busy", "good", group="a") == ["done", 30.0, 30.0]
    assert set(host.answers.dead) == {"m0"}


@EVERY_KIND
def test_without_time_nothing_starts(handler: Any) -> None:
    assert posted(ToyHost(handler), "bad", "good", seconds=-1.0) == [0.0, 0.0]


def test_an_open_breaker_calls_no_handler() -> None:
    settings = load_settings(environ={}, arguments={"breaker_failures": 1})
    host = ToyHost(sync, settings)
    assert posted(host, "busy") == [30.0]
    (wait,) = posted(host, "good")
    assert 29 < wait <= 30


def test_nothing_posted_is_nothing_to_do() -> None:
    assert ToyHost(sync).post("[]") == "[]"
