"""The state machine alone: no sockets, and time that stands still unless moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from tests.brokers.service_bus.clock import Clock
from tests.brokers.service_bus.content import Content, parse_message
from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.entities import MessageState, QueueOptions, Settlement, Stored
from tests.brokers.service_bus.errors import BrokerError, Condition
from tests.brokers.service_bus.journal import Journal, Kind
from tests.brokers.service_bus.namespace import Namespace
from tests.brokers.service_bus.types import Described, Symbol, Timestamp, UInt, ULong

if TYPE_CHECKING:
    from tests.brokers.service_bus.queues import Queue

START = 1_000_000.0


def content(
    text: str,
    *,
    session_id: str | None = None,
    message_id: str | None = None,
    ttl: float | None = None,
    due: float | None = None,
) -> Content:
    milliseconds = None if ttl is None else UInt(int(ttl * 1000))
    sections: list[tuple[int, Any]] = [
        (0x70, [None, None, milliseconds]),
        (0x73, [message_id or text, *[None] * 9, session_id]),
        (0x75, text.encode()),
    ]
    if due is not None:
        note = {Symbol("x-opt-scheduled-enqueue-time"): Timestamp(int(due * 1000))}
        sections.insert(1, (0x72, note))
    return parse_message(b"".join(encode(Described(ULong(code), v)) for code, v in sections))


class Holder:
    """Counts how often it was told that its session is lost."""

    def __init__(self) -> None:
        self.lost = 0

    def session_lost(self) -> None:
        self.lost += 1


@dataclass
class World:
    clock: Clock
    journal: Journal
    namespace: Namespace

    def queue(self, **options: Any) -> Queue:
        return self.namespace.create_queue("q", QueueOptions(**options))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.namespace.run_due()


@pytest.fixture
def world() -> World:
    clock = Clock(lambda: START)
    journal = Journal(clock.now)
    return World(clock, journal, Namespace(clock, journal.record))


def texts(stored: list[Stored]) -> list[str]:
    return [one.content.data.decode() for one in stored]


def token_of(stored: Stored | None) -> UUID:
    assert stored is not None
    assert stored.lock is not None
    return stored.lock.token


def refusal(error: pytest.ExceptionInfo[BrokerError]) -> str:
    return error.value.condition


def test_a_dead_letter_queue_has_none_beneath_it(world: World) -> None:
    queue = world.queue()
    queue.send(content("a"))
    queue.settle(token_of(queue.take()), Settlement.DEAD_LETTER, reason="r")
    dead = world.namespace.queue("q/$DeadLetterQueue")
    taken = dead.take()
    with pytest.raises(BrokerError) as error:
        dead.settle(token_of(taken), Settlement.DEAD_LETTER)
    assert refusal(error) == Condition.NOT_ALLOWED
    for _ in range(20):
        dead.settle(token_of(taken), Settlement.ABANDON)
        taken = dead.take()
    assert taken is not None
    assert taken.delivery_count == 20


def test_an_unknown_token_is_a_lost_lock(world: World) -> None:
    queue = world.queue()
    for call in (queue.renew, lambda token: queue.settle(token, Settlement.COMPLETE)):
        with pytest.raises(BrokerError) as error:
            call(uuid4())
        assert refusal(error) == Condition.MESSAGE_LOCK_LOST


def test_a_locked_message_outlives_its_ttl_until_it_is_given_back(world: World) -> None:
    queue = world.queue(lock_duration=100)
    queue.send(content("a", ttl=10))
    token = token_of(queue.take())
    world.advance(50)
    assert texts(queue.peek(0, 9)) == ["a"]
    queue.settle(token, Settlement.ABANDON)
    assert queue.peek(0, 9) == []
    assert [event.kind for event in world.journal.events()][-1] is Kind.EXPIRED


def test_the_shorter_of_both_times_to_live_wins(world: World) -> None:
    queue = world.queue(default_ttl=20)
    queue.send(content("own", ttl=10))
    queue.send(content("default", ttl=1000))
    world.advance(11)
    assert texts(queue.peek(0, 9)) == ["default"]
    world.advance(10)
    assert queue.peek(0, 9) == []


def test_a_schedule_in_the_past_is_no_schedule(world: World) -> None:
    queue = world.queue()
    queue.send(content("a", due=START - 1))
    assert texts([one for one in queue.peek(0, 9) if one.state is MessageState.ACTIVE]) == ["a"]


def test_a_cancel_of_several_is_all_or_nothing(world: World) -> None:
    queue = world.queue()
    number = queue.send(content("a", due=START + 10))
    assert number is not None
    with pytest.raises(BrokerError) as error:
        queue.cancel([number, 99])
    assert refusal(error) == Condition.MESSAGE_NOT_FOUND
    queue.cancel([number])
    world.advance(11)
    assert queue.peek(0, 9) == []


def test_locked_deferred_messages_cannot_be_taken_twice(world: World) -> None:
    queue = world.queue(lock_duration=30)
    queue.send(content("a"))
    queue.settle(token_of(queue.take()), Settlement.DEFER)
    [deferred] = queue.take_deferred([1])
    with pytest.raises(BrokerError):
        queue.take_deferred([1])
    queue.settle(token_of(deferred), Settlement.ABANDON)
    assert deferred.state is MessageState.DEFERRED
    assert texts(queue.take_deferred([1], lock=False)) == ["a"]
    assert queue.peek(0, 9) == []


def test_a_session_lock_covers_all_its_messages(world: World) -> None:
    queue = world.queue(requires_session=True, lock_duration=30)
    queue.send(content("a", session_id="s"))
    queue.send(content("b", session_id="s"))
    holder = Holder()
    session = queue.accept_session("s", holder)
    assert session is not None
    first = queue.take(session)
    world.advance(20)
    assert queue.renew_session("s") == world.clock.now() + 30
    world.advance(20)
    assert first is not None
    assert first.lock is not None
    assert first.lock.until == session.locked_until
    world.advance(20)
    assert (holder.lost, first.delivery_count) == (1, 1)
    assert not any(one.lock for one in queue.peek(0, 9))
    with pytest.raises(BrokerError) as error:
        queue.renew_session("s")
    assert refusal(error) == Condition.SESSION_LOCK_LOST


def test_a_holder_that_lost_its_session_cannot_release_the_next_holders(world: World) -> None:
    queue = world.queue(requires_session=True, lock_duration=30)
    first, second = Holder(), Holder()
    session = queue.accept_session("s", first)
    assert session is not None
    world.advance(31)
    assert queue.accept_session("s", second) is session
    queue.release_session(session, first)
    assert session.holder is second


def test_no_session_is_free_when_all_are_held_or_empty(world: World) -> None:
    queue = world.queue(requires_session=True)
    assert queue.accept_session(None, Holder()) is None
    queue.send(content("a", session_id="s"))
    assert queue.accept_session(None, Holder()) is not None
    assert queue.accept_session(None, Holder()) is None


def test_a_forgotten_duplicate_leaves_no_trace(world: World) -> None:
    queue = world.queue(duplicate_window=10)
    assert queue.send(content("a", message_id="m")) == 1
    assert queue.send(content("b", message_id="m")) is None
    world.advance(11)
    assert queue._duplicates is not None
    assert len(queue._duplicates) == 0


def test_paths_name_entities_in_any_case(world: World) -> None:
    world.namespace.create_topic("Topic", QueueOptions())
    subscription = world.namespace.create_subscription("topic", "Sub", QueueOptions())
    assert world.namespace.find("topic/subscriptions/SUB") is subscription
    dead = world.namespace.find("topic/Subscriptions/sub/$deadletterqueue")
    assert dead is subscription.dead_letters
    for missing in ("nothing", "topic/$DeadLetterQueue", "topic/Subscriptions/none", ""):
        with pytest.raises(BrokerError) as error:
            world.namespace.find(missing)
        assert refusal(error) == Condition.NOT_FOUND


def test_a_topic_refuses_what_one_subscription_would(world: World) -> None:
    topic = world.namespace.create_topic("t", QueueOptions())
    plain = world.namespace.create_subscription("t", "plain", QueueOptions())
    world.namespace.create_subscription("t", "sessions", QueueOptions(requires_session=True))
    with pytest.raises(BrokerError):
        topic.send(content("a"))
    assert plain.peek(0, 9) == []


def test_two_entities_cannot_have_one_name(world: World) -> None:
    world.queue()
    with pytest.raises(ValueError, match="exists already"):
        world.namespace.create_topic("Q", QueueOptions())
    with pytest.raises(ValueError, match="only topics"):
        world.namespace.create_subscription("q", "s", QueueOptions())


def test_the_journal_forgets_its_oldest_and_says_what_it_saw(world: World) -> None:
    journal = Journal(world.clock.now, limit=2)
    for kind in (Kind.CONNECTED, Kind.OPENED, Kind.ATTACHED):
        journal.record(kind)
    assert [event.number for event in journal.events()] == [2, 3]
    with pytest.raises(TimeoutError, match="seen: \\['opened', 'attached'\\]"):
        journal.wait_for(Kind.CONNECTED, timeout=0)


def test_the_clock_does_not_go_back(world: World) -> None:
    with pytest.raises(ValueError, match="forward"):
        world.clock.advance(-1)
