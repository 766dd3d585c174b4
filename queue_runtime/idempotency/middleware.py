"""Lets each message's work be done once: claims before a delivery, commits after it."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from queue_runtime.errors import BodyDecodeError
from queue_runtime.idempotency.body_digests import is_same_body
from queue_runtime.idempotency.claim_renewal import ClaimKeeper, Holding, seconds_left
from queue_runtime.idempotency.delivery import ClaimedDelivery, Duplicate
from queue_runtime.idempotency.keys import Keys, MissingKeyError
from queue_runtime.idempotency.store import FRESH
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, DeadLetter, Disposition, unrun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.idempotency.keys import Key
    from queue_runtime.idempotency.store import Claim, Found, IdempotencyStore
    from queue_runtime.message import Message
    from queue_runtime.middleware import Messages, Process
    from queue_runtime.outcome import Outcome
    from queue_runtime.retry import RetryPolicy

CallT = ParamSpec("CallT")
ResultT = TypeVar("ResultT")

# A store that is down is not helped by being asked at once, and each delivery is counted.
_STORE_DOWN_SECONDS: Final = 30.0
_SOON: Final = 1.0
_MOST_UNRECORDED: Final = 10_000
_MISMATCH: Final = "its key stands for another body, whose work is done"


class ClaimMiddleware:
    """The delivery middleware: one claim request before the handler's calls, one commit after.

    Waits only where a loop runs and the pipeline needs one, so that it can call itself blocking.
    Once the handler was called nothing raises, whatever the store answers.

    Args:
        store: where claims are kept.
        definition: the handler's, before this is put around it.
        policy: what becomes of messages that fail here.
        key, compare_body: see `Keys`.
        missing: what becomes of a message without a key.
        commit: "each" lets `record_call` commit after each call.
        on_duplicate: called with a message whose work was done before.
        retention: for how many seconds it is kept that work is done.
        fixed_locks: whether no message is held for longer than it says on arrival.
        clock: the one that `Message.locked_until` is by.
    """

    blocking = True

    def __init__(
        self,
        store: IdempotencyStore,
        definition: HandlerDefinition,
        policy: RetryPolicy,
        *,
        retention: float,
        fixed_locks: bool,
        key: Key = None,
        compare_body: bool | Sequence[str] = True,
        missing: Literal["dead-letter", "run"] = "dead-letter",
        commit: Literal["batch", "each"] = "batch",
        on_duplicate: Callable[[Message[Any]], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._policy = policy
        self._keys = Keys(definition.name, key, compare_body=compare_body)
        self._missing, self._commit = missing, commit
        self._on_duplicate = on_duplicate
        self._retention = retention
        self._fixed_locks = fixed_locks
        self._clock = clock
        self._keeper = ClaimKeeper(store.extend, self._not_extended, clock)
        # Work that is done and could not be noted, with the owner that may still note it.
        self._unrecorded: dict[str, str] = {}
        self._running: dict[int, tuple[ClaimedDelivery, int]] = {}
        chain = (*definition.delivery_middleware, *definition.call_middleware)
        self._on_loop = definition.is_async or not all(
            getattr(middleware, "blocking", False) for middleware in chain
        )

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        """Claim, pass all messages on, commit what was done, release what was not."""
        delivery = self._plan(messages)
        now = self._clock()
        seconds = seconds_left(messages, now)
        try:
            found = await self._claim(delivery, seconds)
        except Exception as error:
            return self._unreachable(delivery, error)
        self._judge(delivery, found)
        holding = self._hold(delivery, now, seconds)
        try:
            outcomes = list(await call_next(messages))
        finally:
            self._let_go(delivery, holding)
            delivery.forget_decided()
        if len(outcomes) != len(messages):
            return outcomes  # a middleware's mistake, which the pipeline answers for
        until = now + seconds if holding is None else holding.until
        await self._finish(delivery, outcomes, until)
        if delivery.duplicates:
            self._answer_duplicates(delivery, outcomes)
        return outcomes

    # --- before ----------------------------------------------------------------------------------

    def _plan(self, messages: Messages) -> ClaimedDelivery:
        """Find each message's key; the second of a key in one delivery goes by the first."""
        delivery = ClaimedDelivery(messages)
        claim_of, claims, positions = self._keys.claim, delivery.claims, delivery.positions
        firsts: dict[str, int] = {}
        for at, message in enumerate(messages):
            if message.decided is not None:
                continue
            try:
                claim = claim_of(message)
            except (MissingKeyError, BodyDecodeError) as error:
                self._without_key(delivery, at, error)
                continue
            first = firsts.setdefault(claim.key, at)
            if first == at:
                claims.append(claim)
                positions.append(at)
            else:
                delivery.repeats.append((at, first, claim))
        return delivery

    def _without_key(self, delivery: ClaimedDelivery, at: int, error: Exception) -> None:
        message = delivery.messages[at]
        if self._missing == "run":
            events.say_once(
                message.queue, "idempotency_key", f"a message runs unprotected, because {error}"
            )
            return
        delivery.decide(at, self._policy.outcome(DeadLetter(f"poison: {error}"), message))

    async def _claim(self, delivery: ClaimedDelivery, seconds: float) -> Sequence[Found]:
        if not delivery.claims:
            return ()
        if self._unrecorded:
            await self._record_late(delivery.claims)
        found = await self._call(self._store.claim, delivery.claims, delivery.owner, seconds)
        return _one_each(found, delivery.claims)

    async def _record_late(self, claims: Sequence[Claim]) -> None:
        """Note now what was done here and could not be noted then, before it is done again."""
        for claim in claims:
            owner = self._unrecorded.get(claim.key)
            if owner is not None:
                await self._call(self._store.commit, [claim], owner, self._retention)
                self._unrecorded.pop(claim.key, None)

    def _judge(self, delivery: ClaimedDelivery, found: Sequence[Found]) -> None:
        """Decide every message that is not to run."""
        messages, held = delivery.messages, delivery.held
        if found.count(FRESH) == len(messages):  # the usual case, which need not be looked at
            held.update(zip(delivery.positions, delivery.claims, strict=True))
            return
        others: dict[int, Found] = {}
        for at, claim, each in zip(delivery.positions, delivery.claims, found, strict=True):
            if each.state == "fresh":
                held[at] = claim
            else:
                others[at] = each
                self._not_ours(delivery, at, claim, each)
        for at, first, claim in delivery.repeats:
            if first in others:
                self._not_ours(delivery, at, claim, others[first])
            elif messages[at].group_id == messages[first].group_id and is_same_body(
                claim.payload, held[first].payload
            ):
                delivery.add_duplicate(Duplicate(at, first))
            else:
                # On an ordered queue its group must not go on before the other group's message.
                delivery.decide(at, unrun("its key is at work in this delivery", delay=_SOON))

    def _not_ours(self, delivery: ClaimedDelivery, at: int, claim: Claim, found: Found) -> None:
        if found.state == "in progress":
            delivery.decide(at, unrun("its key is in progress elsewhere", delay=found.remaining))
        elif not is_same_body(claim.payload, found.payload):
            message = delivery.messages[at]
            delivery.decide(at, self._policy.outcome(DeadLetter(_MISMATCH), message))
        else:
            delivery.add_duplicate(Duplicate(at, None))

    # --- meanwhile -------------------------------------------------------------------------------

    def _hold(self, delivery: ClaimedDelivery, now: float, seconds: float) -> Holding | None:
        held, messages = delivery.held, delivery.messages
        if self._commit == "each":
            self._running.update((id(messages[at]), (delivery, at)) for at in held)
        if not held or (self._fixed_locks and messages[0].locked_until != inf):
            return None
        holding = Holding(
            [messages[at] for at in held], list(held.values()), delivery.owner, now, seconds
        )
        self._keeper.hold(holding)
        return holding

    def _let_go(self, delivery: ClaimedDelivery, holding: Holding | None) -> None:
        if holding is not None:
            self._keeper.drop(holding)
        if self._running:
            for at in delivery.held:
                self._running.pop(id(delivery.messages[at]), None)

    async def record_call(self, messages: Messages, outcomes: list[Outcome]) -> None:
        """Note at once what one call has done."""
        done: list[int] = []
        positions: list[int] = []
        delivery = None
        for position, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
            running = self._running.get(id(message))
            if running is not None and outcome.disposition is Disposition.ACK:
                delivery, at = running
                done.append(at)
                positions.append(position)
        if delivery is not None and not await self._record(delivery, done):
            now = self._clock()
            left = seconds_left([delivery.messages[at] for at in done], now)
            for position in positions:
                outcomes[position] = _not_recorded(left)

    # --- after -----------------------------------------------------------------------------------

    async def _finish(
        self, delivery: ClaimedDelivery, outcomes: list[Outcome], until: float
    ) -> None:
        done: list[int] = []
        undone: list[int] = []
        for at in delivery.held:
            outcome = outcomes[at]
            if at in delivery.committed:
                continue
            if outcome is ACK or outcome.disposition is Disposition.ACK:
                done.append(at)
            elif not outcome.may_run:
                undone.append(at)
        if done and not await self._record(delivery, done):
            left = max(until - self._clock(), _SOON)
            for at in done:
                outcomes[at] = _not_recorded(left)
        if undone:
            await self._release(delivery, undone)

    async def _record(self, delivery: ClaimedDelivery, done: Sequence[int]) -> bool:
        """Note that work is done; False where the store could not be told, in two attempts."""
        held = delivery.held
        claims = [held[at] for at in done]
        for last in (False, True):
            try:
                answer = await self._call(
                    self._store.commit, claims, delivery.owner, self._retention
                )
                ours = _one_each(answer, claims)
                break
            except Exception as error:
                if last:
                    self._remember(delivery, done, error)
                    return False
        delivery.committed.update(done)
        if not all(ours):
            for at, kept in zip(done, ours, strict=True):
                if not kept:
                    _say_overtaken(delivery.messages[at])
        return True

    def _remember(self, delivery: ClaimedDelivery, done: Sequence[int], error: Exception) -> None:
        for at in done:
            message = delivery.messages[at]
            text = "comes back: its work is done and could not be noted (%s)"
            events.error(message, "idempotency", text, error)
            metrics.DEGRADED.add(1, message.queue, "idempotency_commit")
            if len(self._unrecorded) < _MOST_UNRECORDED:
                self._unrecorded[delivery.held[at].key] = delivery.owner

    async def _release(self, delivery: ClaimedDelivery, undone: Sequence[int]) -> None:
        claims = [delivery.held[at] for at in undone]
        try:
            await self._call(self._store.release, claims, delivery.owner)
        except Exception as error:  # they end by themselves
            events.say_once(
                delivery.messages[0].queue,
                "idempotency_release",
                f"claims could not be released ({type(error).__qualname__}): their messages wait "
                "until they end",
            )

    def _answer_duplicates(self, delivery: ClaimedDelivery, outcomes: list[Outcome]) -> None:
        for duplicate in delivery.duplicates:
            at = duplicate.at
            if outcomes[at] is not duplicate.outcome:
                continue  # its group was stopped before it
            first = None if duplicate.first is None else outcomes[duplicate.first]
            if first is not None and first.disposition is not Disposition.ACK:
                delay = _SOON if first.delay is None else first.delay
                outcomes[at] = unrun("its key's first message was not done", delay=delay)
            else:
                outcomes[at] = self._acknowledge(delivery.messages[at], duplicate.outcome)

    def _acknowledge(self, message: Message[Any], outcome: Outcome) -> Outcome:
        if self._on_duplicate is not None:
            try:
                self._on_duplicate(message)
            except Exception as error:
                return self._policy.outcome(error, message)
        metrics.DUPLICATES.add(1, message.queue)
        return outcome

    # --- the store -------------------------------------------------------------------------------

    async def _call(
        self, function: Callable[CallT, ResultT], *arguments: CallT.args, **named: CallT.kwargs
    ) -> ResultT:
        """Ask the store, off the event loop where one runs here that others need."""
        if self._on_loop and _loop_runs():
            from asyncio import to_thread

            return await to_thread(function, *arguments, **named)
        return function(*arguments, **named)

    def _unreachable(self, delivery: ClaimedDelivery, error: Exception) -> Sequence[Outcome]:
        delivery.forget_decided()
        kind = type(error).__qualname__
        queue = delivery.messages[0].queue
        text = "%s: no message runs, because the idempotency store did not answer (%s)"
        events.error(queue, "idempotency", text, queue, error)
        metrics.DEGRADED.add(1, queue, "idempotency_store")
        back = unrun(f"the idempotency store did not answer ({kind})", delay=_STORE_DOWN_SECONDS)
        return [back] * len(delivery.messages)

    def _not_extended(self, messages: Sequence[Message[Any]], error: Exception) -> None:
        text = "may be done twice: claims could not be extended (%s), and may end before the work"
        events.warning(messages, "idempotency", text, error)


class CommitEach:
    """The call middleware of `commit="each"`: notes each call's work as soon as it is done."""

    blocking = True

    def __init__(self, claims: ClaimMiddleware) -> None:
        self._claims = claims

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        """Call, and commit what it acknowledged."""
        outcomes = list(await call_next(messages))
        await self._claims.record_call(messages, outcomes)
        return outcomes


def _one_each(answers: Sequence[ResultT], claims: Sequence[Claim]) -> list[ResultT]:
    """Check a store's answers.

    Raises:
        ValueError: it did not answer for each key.
    """
    checked = list(answers)
    if len(checked) != len(claims):
        raise ValueError(f"{len(checked)} answers for {len(claims)} keys")
    return checked


def _not_recorded(left: float) -> Outcome:
    """Give a message back whose work is done and not noted: not before its claim has ended."""
    return unrun("its work is done, but that could not be noted", delay=left, may_run=True)


def _say_overtaken(message: Message[Any]) -> None:
    events.warning(
        message,
        "idempotency",
        "may be done twice: its work outlasted its claim, and another delivery has the key now",
    )
    metrics.DEGRADED.add(1, message.queue, "idempotency_overtaken")


def _loop_runs() -> bool:
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
