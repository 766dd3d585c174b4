"""What every queue service's poller has to survive: an end in each phase of its work, and outages.

A fault costs no message, and none more than one extra delivery. Where groups are in order, they
stay so. Nothing is acknowledged that was not done.
"""

from __future__ import annotations

import random
import signal
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.faults.consumer import CONCURRENCY
from tests.faults.journal import out_of_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.consumer import Consumer

GROUPS = 3
KILLS, MANY_KILLS = 3, 20


def numbered(count: int) -> list[str]:
    """Make bodies that are `group:number`."""
    return [f"{n % GROUPS}:{n:04}" for n in range(count)]


FEW, MANY, VERY_MANY = numbered(30), numbered(240), numbered(3000)

ONE_GROUP = FEW[::GROUPS]


class Phase(StrEnum):
    """What a poller is at when the fault comes."""

    RECEIVE = "receive"  # messages are locked, and on their way
    HANDLE = "handle"
    ACKNOWLEDGE = "ack under way"  # and not carried out yet
    ACKNOWLEDGED = "acknowledged"  # and the answer is on its way
    RENEW = "renewal"


PHASES = [Phase.RECEIVE, Phase.HANDLE, Phase.ACKNOWLEDGE, Phase.ACKNOWLEDGED]


class Rig(Protocol):
    """A broker in this process, with one queue."""

    url: str
    environment: dict[str, str]
    ordered: bool

    def send(self, bodies: Sequence[str]) -> None: ...

    def is_asked(self) -> bool:
        """Tell whether somebody waits for messages."""

    def prolong(self, phase: Phase, *, for_ever: bool) -> None:
        """Make a phase last, if only for some moments."""

    def has_begun(self, phase: Phase) -> bool:
        """Tell it of a phase that the broker sees."""

    def refuse_renewals(self) -> None:
        """Answer that there are too many requests."""

    def refused(self) -> int:
        """Count the renewals that were refused, message by message."""

    def renewed(self) -> int:
        """Count those that were not."""

    def heal(self) -> None:
        """Prolong and refuse nothing any more."""

    def is_alone(self) -> bool:
        """Tell whether the broker knows that its client has gone."""

    def end_locks(self) -> None:
        """End all locks, as if their time were over."""

    def stop(self) -> None: ...

    def start(self) -> None:
        """Be there again, at the same address and with the same messages."""

    def left(self) -> int:
        """Count the messages that are in the queue, and in its dead-letter queue."""

    def locked(self) -> int: ...

    def acknowledged(self) -> list[str]:
        """Give the bodies of the messages that were acknowledged."""

    def deliveries(self) -> list[int]:
        """Give each message's count of deliveries."""


class CrashMatrix:
    """Tests; a subclass has the fixtures `rig` and `consumer`."""

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_kill_costs_no_message_and_one_delivery_at_most(
        self, phase: Phase, rig: Rig, consumer: Consumer
    ) -> None:
        assert_survives_a_kill(phase, rig, consumer)

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_signal_to_end_leaves_nothing_locked_and_nothing_half_done(
        self, phase: Phase, rig: Rig, consumer: Consumer
    ) -> None:
        rig.send(FEW)
        reach(phase, rig, consumer, for_ever=False)
        assert_ends_cleanly(FEW, rig, consumer)

    def test_a_signal_to_end_while_it_waits_for_messages_takes_none_along(
        self, rig: Rig, consumer: Consumer
    ) -> None:
        consumer.start()
        consumer.wait_for(rig.is_asked)
        assert consumer.end(signal.SIGTERM) == 0
        rig.send(FEW)
        assert rig.locked() == 0

    def test_a_broker_that_restarts_is_found_again(self, rig: Rig, consumer: Consumer) -> None:
        assert_survives_a_restart(Phase.ACKNOWLEDGE, rig, consumer)

    @pytest.mark.soak
    def test_many_kills_at_any_time_lose_nothing(self, rig: Rig, consumer: Consumer) -> None:
        assert_survives_kills(MANY_KILLS, VERY_MANY, rig, consumer)


class OrderMatrix:
    """What queues with groups in order have to survive besides."""

    def test_kills_at_any_time_keep_the_order_of_groups(self, rig: Rig, consumer: Consumer) -> None:
        assert_survives_kills(KILLS, MANY, rig, consumer)


class HeldMatrix:
    """What takes seconds, as messages are held for some time."""

    def test_what_is_held_outlasts_a_restart_of_the_broker(
        self, rig: Rig, consumer: Consumer
    ) -> None:
        assert_survives_a_restart(Phase.HANDLE, rig, consumer)

    def test_a_kill_in_a_renewal_costs_one_delivery_at_most(
        self, rig: Rig, consumer: Consumer
    ) -> None:
        assert_survives_a_kill(Phase.RENEW, rig, consumer)

    def test_a_signal_to_end_in_a_renewal_leaves_nothing_locked(
        self, rig: Rig, consumer: Consumer
    ) -> None:
        rig.send(FEW)
        reach(Phase.RENEW, rig, consumer, for_ever=False)
        assert_ends_cleanly(FEW, rig, consumer)


class ThreadMatrix:
    """What is the same for sessions and groups, and takes the same time."""

    def test_a_signal_to_end_does_not_wait_for_a_thread(self, rig: Rig, consumer: Consumer) -> None:
        rig.send(FEW)
        consumer.hold()
        consumer.start("on_thread")
        consumer.wait_for(lambda: len(consumer.journal.lines()) >= GROUPS)
        assert_ends_cleanly(FEW, rig, consumer)


def reach(phase: Phase, rig: Rig, consumer: Consumer, *, for_ever: bool) -> None:
    """Start a process and let it come to a phase, which then goes on."""
    if phase in (Phase.HANDLE, Phase.RENEW):
        consumer.hold()
    rig.prolong(phase, for_ever=for_ever)
    consumer.start()
    if phase is Phase.HANDLE:
        consumer.wait_for(lambda: len(consumer.journal.lines()) >= GROUPS)
    else:
        consumer.wait_for(lambda: rig.has_begun(phase))


def kill(rig: Rig, consumer: Consumer) -> None:
    """Kill the process, and end its locks once the broker has heard of it."""
    consumer.end(signal.SIGKILL)
    consumer.wait_for(rig.is_alone)
    assert set(rig.acknowledged()) <= set(consumer.journal.count("done"))
    rig.heal()
    rig.end_locks()
    consumer.let_go()


def kill_soon(rig: Rig, consumer: Consumer) -> None:
    before = len(consumer.journal.lines())
    consumer.start()
    consumer.wait_for(lambda: len(consumer.journal.lines()) > before)
    time.sleep(random.random() * 0.1)  # to hit any point of its work, not to wait
    kill(rig, consumer)


def consume_the_rest(rig: Rig, consumer: Consumer) -> None:
    consumer.start()
    consumer.wait_for(lambda: rig.left() == 0)


def assert_survives_a_kill(phase: Phase, rig: Rig, consumer: Consumer) -> None:
    rig.send(FEW)
    reach(phase, rig, consumer, for_ever=True)
    kill(rig, consumer)
    consume_the_rest(rig, consumer)
    assert_all_done(FEW, rig, consumer, faults=1)


def assert_survives_a_restart(phase: Phase, rig: Rig, consumer: Consumer) -> None:
    rig.send(FEW)
    reach(phase, rig, consumer, for_ever=False)
    rig.stop()
    consumer.wait_for(lambda: consumer.has_said("failed"))
    rig.heal()
    rig.start()
    consumer.let_go()
    consumer.wait_for(lambda: rig.left() == 0)
    assert_all_done(FEW, rig, consumer, faults=1)


def assert_survives_kills(kills: int, bodies: Sequence[str], rig: Rig, consumer: Consumer) -> None:
    rig.send(bodies)
    for _ in range(kills):
        kill_soon(rig, consumer)
    consume_the_rest(rig, consumer)
    assert_all_done(bodies, rig, consumer, faults=kills)


def assert_all_done(bodies: Sequence[str], rig: Rig, consumer: Consumer, *, faults: int) -> None:
    journal = consumer.journal
    assert not consumer.own_errors()
    assert set(journal.count("done")) == set(bodies)
    assert sorted(rig.acknowledged()) == sorted(bodies)
    assert max(journal.count("run").values()) <= 1 + faults
    assert max(rig.deliveries()) <= 1 + faults
    if rig.ordered:
        assert out_of_order(journal.lines(), bodies) == []


def assert_ends_cleanly(bodies: Sequence[str], rig: Rig, consumer: Consumer) -> None:
    """Tell it to end: what it has done is acknowledged, and all else can be received again."""
    assert consumer.end(signal.SIGTERM) == 0
    assert not consumer.own_errors()
    assert rig.locked() == 0
    done = consumer.journal.count("done")
    assert sorted(rig.acknowledged()) == sorted(done.elements())
    assert rig.left() == len(bodies) - len(done)


def assert_renewed_in_time(rig: Rig, consumer: Consumer) -> None:
    """Refuse renewals into the keeper's second round, which leaves it time for another."""
    rig.send(ONE_GROUP)
    consumer.hold()
    rig.refuse_renewals()
    consumer.start()
    consumer.wait_for(lambda: rig.refused() > len(ONE_GROUP))
    rig.heal()
    consumer.wait_for(lambda: rig.renewed() >= len(ONE_GROUP))
    consumer.let_go()
    consumer.wait_for(lambda: rig.left() == 0)
    assert_all_done(ONE_GROUP, rig, consumer, faults=0)


def assert_lost_locks_come_back(rig: Rig, consumer: Consumer) -> None:
    """Refuse renewals until locks have ended."""
    rig.send(FEW)
    consumer.hold()
    rig.refuse_renewals()
    consumer.start()
    # More than run at a time, so the first have been given up and come again.
    consumer.wait_for(lambda: len(consumer.journal.lines()) > CONCURRENCY)
    rig.heal()
    consumer.let_go()
    consumer.wait_for(lambda: rig.left() == 0)
    assert_all_done(FEW, rig, consumer, faults=2)  # so often at least it was refused
