"""Messages on their whole way: queue, event source, built function, retry, dead-letter queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.infra.template import properties
from tests.lambda_runtime.emulator import LambdaEmulator
from tests.lambda_runtime.event_source import EventSource, Verdict, emulated

if TYPE_CHECKING:
    from tests.lambda_runtime.conftest import MakeQueues

HANDLERS = Path(__file__).parent / "handlers"
TAKE_ORDER = properties("OrdersFunction")["Handler"]

pytestmark = pytest.mark.emulator


def order(identity: str, amount: str = "1.00") -> str:
    return json.dumps({"id": identity, "amount": amount})


def run_until_done(source: EventSource, *, rounds: int) -> list[Verdict]:
    """Take everything through the function, each kept message `rounds` times at most."""
    verdicts = []
    for _ in range(rounds):
        verdicts += source.drain()
        source.pass_time()
    return verdicts


def test_each_order_meets_its_own_fate(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues = make_queues()
    booked = queues.send(order("order-1"))
    busy = queues.send(order("busy-3-2"))
    negative = queues.send(order("order-3", "-1"), correlation_id="checkout-3")
    poison = queues.send("{")
    offline = queues.send(order("offline-5"))
    env = {**function_env, "QUEUE_DLQ_NAME": queues.dead_letter_name}
    with LambdaEmulator(task_root, TAKE_ORDER, env=env) as function:
        source = EventSource(queues.sqs, queues.url, emulated(function))
        first = source.poll()
        assert first is not None
        assert first.kept == (busy, offline)
        assert 25 < queues.seconds_until_visible(busy) <= 30
        source.pass_time()
        later = run_until_done(source, rounds=6)
    deleted = [identity for verdict in (first, *later) for identity in verdict.deleted]
    assert sorted(deleted) == sorted([booked, busy, negative, poison, offline])
    assert queues.depth() == 0
    dead = queues.take_dead_letters()
    assert sorted(dead) == sorted([negative, poison, offline])
    assert dead[negative].body == order("order-3", "-1")
    assert dead[negative].attributes["correlation_id"] == "checkout-3"
    assert dead[negative].facts["reason"] == "negative amount"
    assert dead[offline].facts["deliveries"] == 5
    assert dead[offline].facts["error"] == "the ledger does not answer"


def test_without_a_dead_letter_queue_of_ours_the_redrive_policy_takes_the_message(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues = make_queues()
    negative = queues.send(order("order-1", "-1"))
    with LambdaEmulator(task_root, TAKE_ORDER, env=function_env) as function:
        verdicts = run_until_done(
            EventSource(queues.sqs, queues.url, emulated(function)), rounds=20
        )
    most = properties("OrdersQueue")["RedrivePolicy"]["maxReceiveCount"]
    assert [verdict.kept for verdict in verdicts] == [(negative,)] * most
    dead = queues.take_dead_letters()
    assert [(each.broker_id, each.facts) for each in dead.values()] == [(negative, {})]


def test_the_order_of_a_group_outlives_a_retry_while_other_groups_go_on(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues = make_queues(fifo=True)
    for body, group in (("a1", "a"), ("late-a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")):
        queues.send(body, group=group)
    env = {**function_env, "QUEUE_DLQ_NAME": queues.dead_letter_name}
    with LambdaEmulator(task_root, "decorated.in_order", env=env, layers=[HANDLERS]) as function:
        ran: list[str] = []
        invoke = emulated(function, logs=lambda text: ran.extend(said(text, "ran ")))
        source = EventSource(queues.sqs, queues.url, invoke)
        first = source.poll()
        assert first is not None
        assert len(first.kept) == 2
        assert ran == ["a1", "b1", "b2"]
        waits = [queues.seconds_until_visible(identity) for identity in first.kept]
        assert all(0 < seconds <= 5 for seconds in waits)
        source.pass_time()
        run_until_done(source, rounds=2)
    assert ran == ["a1", "b1", "b2", "late-a2", "a3"]
    assert queues.depth() == 0
    assert queues.take_dead_letters() == {}


def test_a_dead_letter_that_is_put_back_keeps_its_identity_and_starts_its_attempts_anew(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues = make_queues()
    original = queues.send("{")
    env = {**function_env, "QUEUE_DLQ_NAME": queues.dead_letter_name}
    with LambdaEmulator(task_root, TAKE_ORDER, env=env) as function:
        run_until_done(EventSource(queues.sqs, queues.url, emulated(function)), rounds=1)
    copy = queues.put_back(original)
    with LambdaEmulator(task_root, "decorated.where", env=env, layers=[HANDLERS]) as function:
        said_of: list[str] = []
        invoke = emulated(function, logs=lambda text: said_of.extend(said(text, "message ")))
        run_until_done(EventSource(queues.sqs, queues.url, invoke), rounds=1)
    assert said_of == [f"{original} delivery 1 as {copy}"]
    assert copy != original


def test_what_the_deadline_left_over_is_taken_by_the_next_invocations(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues = make_queues()
    sent = [queues.send("1.1") for _ in range(5)]
    with LambdaEmulator(
        task_root, "decorated.slow", env=function_env, timeout=5, layers=[HANDLERS]
    ) as function:
        source = EventSource(queues.sqs, queues.url, emulated(function))
        # No time passes here: what was not started is visible again at once.
        verdicts = source.drain()
    assert len(verdicts) > 1
    assert sorted(i for verdict in verdicts for i in verdict.deleted) == sorted(sent)
    assert queues.depth() == 0


def said(logs: str, start: str) -> list[str]:
    return [line.removeprefix(start) for line in logs.splitlines() if line.startswith(start)]
