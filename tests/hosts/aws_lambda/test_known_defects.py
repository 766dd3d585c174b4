"""Defects that other batch processors are known for, each shown not to be ours."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from queue_runtime import Message, queue_handler
from queue_runtime.testing import lambda_context
from tests.lambda_rig import Rig, fifo, records


def test_a_coroutine_returned_by_a_sync_handler_is_no_success() -> None:
    ran = []

    async def work() -> None:
        ran.append(1)

    @queue_handler
    def handler(body: str) -> Any:
        return work()

    result = Rig(handler)(*records("a", "b"))
    assert result.failed == ["m1", "m2"]
    assert ran == []


class CallsAService(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _look_up(cls, value: str) -> str:
        if value == "bad":
            raise RuntimeError("service down")
        return value


@pytest.mark.parametrize("make", [records, lambda *bodies: fifo(*(("g", b) for b in bodies))])
def test_a_validator_that_raises_anything_else_takes_no_other_message_with_it(
    make: Callable[..., Any],
) -> None:
    done = []

    @queue_handler
    def handler(message: Message[CallsAService]) -> None:
        done.append(message.body.name)

    result = Rig(handler)(*make({"name": "a"}, {"name": "bad"}))
    assert result.fates == ["ack", "retry"]
    assert done == ["a"]


def test_threads_that_share_a_handler_do_not_share_results() -> None:
    both_inside = threading.Barrier(2, timeout=30)

    @queue_handler
    def handler(body: str) -> None:
        both_inside.wait()
        if body == "bad":
            raise ValueError

    def invoke(body: str) -> list[str]:
        rig = Rig(handler)
        reply = rig.host({"Records": records(body, body)}, lambda_context())
        return [item["itemIdentifier"] for item in reply["batchItemFailures"]]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(invoke, ["bad", "good"])) == [["m1", "m2"], []]


def test_threads_that_share_one_host_do_not_share_results() -> None:
    both_inside = threading.Barrier(2, timeout=30)

    @queue_handler
    def handler(body: str) -> None:
        both_inside.wait()
        if body == "bad":
            raise ValueError

    rig = Rig(handler)

    def invoke(body: str) -> int:
        return len(rig.host({"Records": records(body)}, None)["batchItemFailures"])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(invoke, ["bad", "good"])) == [1, 0]


@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), StopIteration(), RecursionError()]
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_library_raises_to_end_itself_does_not_end_the_batch(
    is_async: bool, error: BaseException
) -> None:
    if is_async:

        @queue_handler
        async def handler(body: str) -> None:
            if body == "bad":
                raise error
    else:

        @queue_handler
        def handler(body: str) -> None:
            if body == "bad":
                raise error

    assert Rig(handler)(*records("a", "bad", "b")).failed == ["m2"]


def test_the_handlers_parameter_may_have_any_name() -> None:
    @queue_handler
    def handler(anything_at_all: str) -> None: ...

    assert Rig(handler)(*records("a")).failed == []


@pytest.mark.parametrize("count", [1, 10])
def test_a_batch_that_fails_as_a_whole_is_a_reply_that_names_all_of_it(count: int) -> None:
    @queue_handler
    def handler(body: str) -> None:
        raise ValueError

    assert len(Rig(handler)(*records(*["x"] * count)).failed) == count
    assert len(Rig(handler)(*fifo(*[("g", "x")] * count)).failed) == count


def test_one_slow_message_holds_no_other_up() -> None:
    finished: list[str] = []
    others_done: list[asyncio.Event] = []

    @queue_handler(concurrency=2)
    async def handler(body: str) -> None:
        if body == "slow":
            others_done.append(asyncio.Event())
            await others_done[0].wait()
        finished.append(body)
        if len(finished) == 5:
            others_done[0].set()

    Rig(handler)(*records("slow", *"abcde"))
    assert finished == [*"abcde", "slow"]


def test_a_result_that_is_no_json_changes_nothing() -> None:
    @queue_handler
    def handler(body: str) -> Any:
        return {object(): {1, 2}}

    assert Rig(handler)(*records("a")).failed == []


def test_a_handler_that_changes_its_message_changes_nothing_of_the_reply() -> None:
    @queue_handler
    def handler(message: Message[bytes]) -> None:
        message.id = "other"
        message.native["body"] = "other"
        raise ValueError

    assert Rig(handler)(*records("a", "b")).failed == ["m1", "m2"]
