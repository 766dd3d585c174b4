"""Idempotent deliveries side by side: clock jumps, crashes at every step, lost replies.

No key's side effect runs a second time while its claim lives or once it is known to be done, and
no key stays blocked when the last claim on it has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from queue_runtime import Message
from queue_runtime.definition import HandlerDefinition
from queue_runtime.idempotency.middleware import ClaimMiddleware
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.idempotency.stores.redis import RedisStore
from queue_runtime.idempotency.stores.sqlite import SqliteStore
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.retry import RetryPolicy
from tests.idempotency.rig import Watched
from tests.lambda_rig import Clock
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from queue_runtime.idempotency.store import IdempotencyStore
    from queue_runtime.middleware import Messages

RETENTION = 100.0
KEYS = ("a", "b")
FAILURES = st.sampled_from(["", "before", "after"])


def handler(body: bytes) -> None:
    """Is never called: the model does the work itself."""


class Pause(Awaitable[None]):
    """Where a delivery stands still until the machine goes on with it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Delivery:
    """One delivery at one owner, driven step by step."""

    def __init__(self, machine: IdempotencyMachine, owner: int, names: Sequence[str]) -> None:
        self.machine = machine
        self.messages = [Message.of(b"", id=name, queue="q") for name in names]
        self.owner = owner
        self.middleware = machine.owners[owner]
        self.fails: frozenset[str] = frozenset()
        self.until = 0.0
        self.outcomes: Sequence[Outcome] | None = None
        self.did: set[str] = set()
        self.holds: set[str] = set()
        self._work: Coroutine[Any, Any, Sequence[Outcome]] | None = None

    def start(self, seconds: float) -> None:
        self.until = self.machine.clock() + seconds
        for message in self.messages:
            message.locked_until = self.until
        self._work = self.middleware(self.messages, self._dispatch)
        self.go_on()

    def go_on(self) -> None:
        assert self._work is not None
        try:
            self._work.send(None)
        except StopIteration as done:
            self.outcomes = done.value

    def crash(self) -> None:
        assert self._work is not None
        self._work.close()

    async def _dispatch(self, messages: Messages) -> Sequence[Outcome]:
        self.holds = {m.id for m in messages if m.decided is None}
        await Pause()  # claimed, not yet at work
        outcomes = [self._run(message) for message in messages]
        await Pause()  # the work is done, its commit has not begun
        return outcomes

    def _run(self, message: Message[Any]) -> Outcome:
        if message.decided is not None:
            return message.decided
        if self.machine.clock() >= self.until or message.id in self.fails:
            return Outcome(Disposition.RETRY, delay=0.0)
        self.machine.side_effect(message.id, self)
        self.did.add(message.id)
        return ACK


class IdempotencyMachine(RuleBasedStateMachine):
    open_store: ClassVar[Callable[[Clock], IdempotencyStore]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = Watched(type(self).open_store(self.clock))
        self.owners = [self._owner() for _ in range(3)]
        self.live: list[Delivery] = []
        # Of each key: until when nobody else may do its work, and until when it is known as done.
        self.taken: dict[str, tuple[Delivery, float]] = {}
        self.done: dict[str, float] = {}
        self.blocked_until = 0.0

    def _owner(self) -> ClaimMiddleware:
        definition = HandlerDefinition(handler)
        return ClaimMiddleware(
            self.store,
            definition,
            RetryPolicy(),
            retention=RETENTION,
            fixed_locks=True,
            clock=self.clock,
        )

    def side_effect(self, key: str, delivery: Delivery) -> None:
        now = self.clock()
        other, until = self.taken.get(key, (delivery, 0.0))
        assert other is delivery or until <= now, f"{key} was done twice within a claim"
        assert self.done.get(key, 0.0) <= now, f"{key} was done again within its retention"
        self.taken[key] = (delivery, delivery.until)

    @rule(
        owner=st.integers(0, 2),
        names=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
        fails=st.frozensets(st.sampled_from(KEYS), max_size=1),
        seconds=st.sampled_from([2.0, 10.0, 30.0]),
        failure=FAILURES,
    )
    def begin(
        self,
        owner: int,
        names: Sequence[str],
        fails: frozenset[str],
        seconds: float,
        failure: str,
    ) -> None:
        delivery = Delivery(self, owner, names)
        delivery.fails = fails
        self.store.fail["claim"] = [failure]
        delivery.start(seconds)
        self.store.fail.clear()
        self.blocked_until = max(self.blocked_until, delivery.until)
        if delivery.outcomes is None:
            self._has_its_keys_alone(delivery)
            self.live.append(delivery)
        else:
            assert failure
            assert all(outcome.unrun for outcome in delivery.outcomes)

    def _has_its_keys_alone(self, delivery: Delivery) -> None:
        for other in self.live:
            if other.until > self.clock():
                both = other.holds & delivery.holds
                assert not both, f"{both} are claimed by two at once"

    @precondition(lambda self: self.live)
    @rule(
        pick=st.integers(0, 99),
        commits=st.sampled_from([[], [], ["before"], ["after"], ["before"] * 2, ["after"] * 2]),
        release=FAILURES,
        late=st.sampled_from([0.0, 0.0, 0.0, 31.0]),
        rivals=st.integers(0, 2),
    )
    def go_on(self, pick: int, commits: list[str], release: str, late: float, rivals: int) -> None:
        """Take a delivery one step on, or to its end with rivals for its keys right after it."""
        delivery = self.live[pick % len(self.live)]
        self.store.fail.update({"commit": list(commits), "release": [release]})
        self.clock.advance(late)
        delivery.go_on()
        if rivals and delivery.outcomes is None:
            delivery.go_on()
        self.store.fail.clear()
        if delivery.outcomes is not None:
            self.live.remove(delivery)
            self._note(delivery, delivery.outcomes)
            for step in range(rivals):
                self._deliver_again(delivery, delivery.owner + 1 + step)

    def _deliver_again(self, delivery: Delivery, owner: int) -> None:
        """Let another owner have the same messages at once, from start to end."""
        again = Delivery(
            self, owner % len(self.owners), [message.id for message in delivery.messages]
        )
        again.start(2.0)
        self._has_its_keys_alone(again)
        self.blocked_until = max(self.blocked_until, again.until)
        while again.outcomes is None:
            again.go_on()
        self._note(again, again.outcomes)

    def _note(self, delivery: Delivery, outcomes: Sequence[Outcome]) -> None:
        for message, outcome in zip(delivery.messages, outcomes, strict=True):
            if message.id not in delivery.did:
                continue
            # Only this delivery's own word counts: another may have taken the key over.
            if outcome.disposition is Disposition.ACK and self._still_ours(message.id, delivery):
                self.done[message.id] = self.clock() + RETENTION

    def _still_ours(self, key: str, delivery: Delivery) -> bool:
        holders = [each for each in self.live if each is not delivery and key in each.holds]
        return not holders and self.taken[key][0] is delivery and self.clock() < delivery.until

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99), after=st.booleans())
    def crash(self, pick: int, after: bool) -> None:
        delivery = self.live.pop(pick % len(self.live))
        if after and not delivery.did:
            delivery.go_on()  # with its work done and nothing noted
        delivery.crash()
        for at, middleware in enumerate(self.owners):
            if middleware is delivery.middleware:
                self.owners[at] = self._owner()  # a new process, which remembers nothing

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.clock() >= self.blocked_until)
    @rule(key=st.sampled_from(KEYS), owner=st.integers(0, 2))
    def nobody_is_blocked(self, key: str, owner: int) -> None:
        delivery = Delivery(self, owner, [key])
        delivery.start(2.0)
        while delivery.outcomes is None:
            delivery.go_on()
        assert delivery.outcomes[0].disposition is Disposition.ACK
        self.blocked_until = max(self.blocked_until, delivery.until)
        self._note(delivery, delivery.outcomes)

    def teardown(self) -> None:
        for delivery in self.live:
            delivery.crash()
        self.store.close()


def check(open_store: Callable[[Clock], IdempotencyStore], examples: int, steps: int = 40) -> None:
    machine = type("Machine", (IdempotencyMachine,), {"open_store": staticmethod(open_store)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_in_memory() -> None:
    check(lambda clock: MemoryStore(clock=clock), 500, 40)


def test_in_a_file() -> None:
    with TemporaryDirectory() as folder:
        paths = (f"{folder}/{n}.db" for n in range(1_000_000))
        check(lambda clock: SqliteStore(next(paths), clock=clock), 60)


def test_in_redis(tmp_path_factory: pytest.TempPathFactory) -> None:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:

        def open_empty(clock: Clock) -> IdempotencyStore:
            store = RedisStore(url, clock=clock)
            store._client.flushall()
            return store

        check(open_empty, 60)
