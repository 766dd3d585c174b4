"""The state machine by itself: no SDK, no sockets, no running time."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.brokers.sqs.account import Account
from tests.brokers.sqs.clock import MovableClock, stopped_clock
from tests.brokers.sqs.errors import SqsError
from tests.brokers.sqs.journal import Event, Journal, Kind
from tests.brokers.sqs.memory import Memory
from tests.brokers.sqs.messages import Draft, State
from tests.brokers.sqs.queues import Counts, Queue


class Bench:
    """An account in a stopped time."""

    def __init__(self) -> None:
        self.clock = stopped_clock()
        self.journal = Journal()
        self.account = Account(self.clock, self.journal)

    def queue(self, name: str = "orders", **values: str) -> Queue:
        if name.endswith(".fifo"):
            values |= {"FifoQueue": "true"}
        return self.account.create(name, values)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_counts_follow_every_state(bench: Bench) -> None:
    queue = bench.queue()
    queue.send(Draft("now"))
    queue.send(Draft("later", delay=10))
    assert queue.counts() == Counts(1, 0, 1)
    [message] = queue.receive(10)
    assert queue.counts() == Counts(0, 1, 1)
    bench.clock.advance(30)
    assert queue.counts() == Counts(2, 0, 0)
    queue.delete(queue.receipt(message))
    assert queue.counts() == Counts(1, 0, 0)
    queue.purge()
    assert queue.counts() == Counts(0, 0, 0)


def test_next_due_skips_what_was_settled(bench: Bench) -> None:
    queue = bench.queue()
    now = bench.clock()
    assert queue.next_due() == float("inf")
    for body in ("a", "b"):
        queue.send(Draft(body))
    first, second = queue.receive(1, 10) + queue.receive(1, 20)
    assert queue.next_due() == now + 10
    queue.delete(queue.receipt(first))
    assert queue.next_due() == now + 20
    queue.change_visibility(queue.receipt(second), 5)
    assert queue.next_due() == now + 5


def test_a_shorter_visibility_wins_over_the_one_before(bench: Bench) -> None:
    queue = bench.queue()
    queue.send(Draft("x"))
    [message] = queue.receive(1, 1000)
    queue.change_visibility(queue.receipt(message), 10)
    bench.clock.advance(10)
    assert queue.receive(1, 1000) == [message]
    bench.clock.advance(990)  # the moment the first receive would have ended
    assert message.state is State.IN_FLIGHT


def test_the_journal_tells_a_messages_life(bench: Bench) -> None:
    queue = bench.queue(VisibilityTimeout="5")
    sent = queue.send(Draft("x", delay=1))
    bench.clock.advance(1)
    queue.receive(1)
    bench.clock.advance(5)
    [message] = queue.receive(1)
    queue.change_visibility(queue.receipt(message), 9)
    queue.delete(queue.receipt(message))
    assert [event.kind for event in bench.journal.events(message_id=sent.message_id)] == [
        Kind.SENT,
        Kind.DELAY_ENDED,
        Kind.RECEIVED,
        Kind.VISIBLE_AGAIN,
        Kind.RECEIVED,
        Kind.VISIBILITY_CHANGED,
        Kind.DELETED,
    ]


@pytest.mark.parametrize("tail", ["", "0" * 20, "z" * 20, "0" * 13 + "9" + "0" * 6, " 1" * 10])
def test_handles_that_were_never_given_are_invalid(bench: Bench, tail: str) -> None:
    queue = bench.queue()
    queue.send(Draft("x"))
    [message] = queue.receive(1)
    with pytest.raises(SqsError) as caught:
        queue.delete(queue.receipt(message)[:-20] + tail)
    assert caught.value.code == "ReceiptHandleIsInvalid"
    with pytest.raises(SqsError):
        queue.delete(queue.receipt(message)[:-1] + "2")  # of a receive yet to come


def test_a_handle_is_as_long_as_real_ones(bench: Bench) -> None:
    queue = bench.queue()
    queue.send(Draft("x"))
    assert len(queue.receipt(queue.receive(1)[0])) == 344


def test_a_repeat_after_the_visibility_ended_receives_anew(bench: Bench) -> None:
    queue = bench.queue("orders.fifo")
    queue.send(Draft("x", group="g", deduplication_id="d"))
    [message] = queue.receive(1, 10, "try")
    bench.clock.advance(10)
    assert queue.receive(1, 10, "try") == [message]
    assert message.receives == 2


@pytest.mark.parametrize(("name", "seconds"), [("orders", 0), ("orders.fifo", 301)])
def test_settled_messages_do_not_pile_up(bench: Bench, name: str, seconds: int) -> None:
    queue = bench.queue(name, VisibilityTimeout="43200")

    def work(rounds: int) -> None:
        for number in range(rounds):
            queue.send(Draft("x" * 100, group=f"g{number}", deduplication_id=str(number)))
            [message] = queue.receive(1)
            queue.delete(queue.receipt(message))
            bench.clock.advance(seconds)
            bench.journal.clear()

    work(1500)
    tracemalloc.start()
    work(5000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Kept, 5,000 messages would be over three megabytes; a thousand may wait to be swept.
    assert grown < 1_000_000
    assert queue.counts() == Counts(0, 0, 0)


def test_memory_forgets_in_order_of_time() -> None:
    memory: Memory[str] = Memory(10)
    memory.put(("a",), "1", 0)
    memory.put(("b",), "2", 5)
    memory.put(("a",), "3", 6)
    assert [memory.get((key,), 14) for key in "ab"] == ["3", "2"]
    assert [memory.get((key,), 15) for key in "ab"] == ["3", None]
    assert memory.get(("a",), 16) is None


def test_a_clock_moves_forward_only_and_tells_of_jumps() -> None:
    clock = MovableClock(lambda: 100.0)
    jumps: list[float] = []
    forget = clock.on_jump(lambda: jumps.append(clock()))
    clock.advance(5)
    forget()
    clock.advance(5)
    assert (clock(), jumps) == (110.0, [105.0])
    with pytest.raises(ValueError, match="cannot go back by 1"):
        clock.advance(-1)


def test_the_journal_keeps_the_newest_and_counts_all() -> None:
    journal = Journal(keep=2)
    for number in range(5):
        journal.record(Event(number, Kind.CALL, "q", "", "SendMessage"))
    assert [event.at for event in journal.events()] == [3, 4]
    assert journal.totals[Kind.CALL] == journal.calls["SendMessage"] == 5
    assert journal.events(Kind.SENT) == []
    assert journal.events(queue="other") == []


def test_waiting_for_the_journal_in_vain_says_what_was_last() -> None:
    journal = Journal()
    journal.record(Event(0, Kind.SENT, "q"))
    with pytest.raises(TimeoutError, match="the last events were: sent"):
        journal.wait_until(lambda: False, timeout=0.02)
