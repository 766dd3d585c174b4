"""What handlers and signals do to a process, on every queue: it goes on, or ends cleanly."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.sqs import Latency, SqsBroker
from tests.faults.local_rig import LocalRig
from tests.faults.test_service_bus_crash import ServiceBusRig
from tests.faults.test_sqs_crash import RECEIVE, SqsRig
from tests.sqs_rig import aws_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.consumer import Consumer

BODIES = [f"m{n}" for n in range(40)]
ODD = "odd_handlers"
LONG_LOCK = 60


@pytest.fixture(params=["sqs", "service bus", "local"])
def rig(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    if request.param == "sqs":
        with SqsBroker() as broker:
            aws_environment(monkeypatch, broker.endpoint_url)
            yield SqsRig(broker, "orders", lock_seconds=LONG_LOCK)
    elif request.param == "service bus":
        with ServiceBusBroker() as broker:
            yield ServiceBusRig(broker, sessions=False, lock_seconds=LONG_LOCK)
    else:
        yield LocalRig(tmp_path / "queues")


def runs_of(consumer: Consumer) -> int:
    return sum(consumer.journal.count("run").values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_handler_that_blocks_the_loop_keeps_no_other_message_locked(
    number: signal.Signals, rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.start("blocks_the_loop", module=ODD)
    consumer.wait_for(lambda: runs_of(consumer) == 1)
    consumer.wait_for(lambda: rig.locked() > 1)
    os.kill(consumer.pid, number)
    consumer.wait_for(lambda: rig.locked() <= 1)
    os.kill(consumer.pid, signal.SIGKILL)
    assert rig.left() == len(BODIES)


def test_a_handler_that_never_lets_go_of_the_loop_is_left_and_its_message_too(
    rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.start("blocks_the_loop", "--drain-seconds", "0", module=ODD)
    consumer.wait_for(lambda: runs_of(consumer) == 1)
    assert consumer.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert (rig.locked(), rig.left()) == (0, len(BODIES))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT])
def test_every_signal_that_ends_leaves_nothing_locked(
    number: signal.Signals, rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.hold()
    consumer.start("hangs", module=ODD)
    consumer.wait_for(lambda: runs_of(consumer) >= 1)
    assert consumer.end(number) == 0
    assert (rig.locked(), rig.left()) == (0, len(BODIES))


@pytest.mark.parametrize(
    "handler",
    [
        "interrupts",
        "interrupts_on_a_thread",
        "leaves",
        "stops_the_loop",
        "cancels_everything",
        "shuts_the_executor_down",
    ],
)
def test_what_a_handler_does_to_the_loop_ends_nothing(
    handler: str, rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.start(handler, module=ODD)
    consumer.wait_for(lambda: rig.left() == 0)
    assert set(consumer.journal.count("done")) == set(BODIES)
    assert consumer.end(signal.SIGTERM) == 0


def test_a_thread_that_a_handler_leaves_behind_is_not_waited_for(
    rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.start("leaves_a_thread", module=ODD)
    consumer.wait_for(lambda: rig.left() == 0)
    assert consumer.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("handler", ["forks_on_a_thread", "forks_on_the_loop"])
def test_a_fork_that_comes_back_runs_nothing_of_its_parents_queue(
    handler: str, rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES)
    consumer.start(handler, module=ODD)
    consumer.wait_for(lambda: rig.left() == 0)
    pids = {line.process for line in consumer.journal.lines()}
    assert pids == {str(consumer.pid)}
    consumer.wait_for(lambda: consumer.has_said("a process that a handler forked"))
    assert runs_of(consumer) == len(BODIES)
    assert consumer.end(signal.SIGTERM) == 0


def test_an_async_call_beyond_its_time_is_cancelled_and_retried(
    rig: Any, consumer: Consumer
) -> None:
    rig.send(BODIES[:3])
    consumer.start("waits", module=ODD, QUEUE_HANDLER_SECONDS="0.2", QUEUE_RETRY_BACKOFF_MS="1")
    consumer.wait_for(lambda: rig.left() == 0)
    assert set(consumer.journal.count("done")) == set(BODIES[:3])
    assert consumer.has_said("TimeoutError")


def test_usr1_writes_all_stacks_and_what_is_in_flight(rig: Any, consumer: Consumer) -> None:
    rig.send(BODIES[:3])
    consumer.hold()
    consumer.start("hangs", module=ODD)
    consumer.wait_for(lambda: runs_of(consumer) == 3)
    os.kill(consumer.pid, signal.SIGUSR1)
    consumer.wait_for(lambda: consumer.output().count("has run for") == 3)
    assert "in hangs" in consumer.output()
    consumer.let_go()
    consumer.wait_for(lambda: rig.left() == 0)


@pytest.mark.parametrize("milliseconds", [20, 50, 200, 1000])
def test_a_receive_that_is_being_answered_at_the_signal_strands_nothing(
    milliseconds: int, monkeypatch: pytest.MonkeyPatch, consumer_of: Any
) -> None:
    with SqsBroker() as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        rig = SqsRig(broker, "orders", lock_seconds=LONG_LOCK)
        rig.send(BODIES * 5)
        broker.faults.add(Latency(milliseconds / 1000))
        consumer = consumer_of(rig)
        consumer.start("on_loop")
        calls = broker.journal.calls
        consumer.wait_for(lambda: calls[RECEIVE] >= 2)
        assert consumer.end(signal.SIGTERM) == 0
        assert rig.locked() == 0
