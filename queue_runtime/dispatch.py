"""Decides which messages of a delivery run together, in what order, and until when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from math import inf
from sys import version_info
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from queue_runtime.message import Message
from queue_runtime.outcome import Disposition, Outcome, unrun
from queue_runtime.settlement.groups import GroupRule

if TYPE_CHECKING:
    from asyncio import Task

    from queue_runtime.middleware import Messages, Run, RunBatch

ResultT = TypeVar("ResultT")
DeadLetterNow: TypeAlias = Callable[[Message[Any], Outcome], Awaitable[Outcome]]

# How long a cancelled handler may take to let go; after that its message goes back all the same.
CANCEL_SECONDS = 0.5

# Starts a task at once, where Python can: until it first waits it costs no turn of the loop.
EAGER: dict[str, Any] = {"eager_start": True} if version_info >= (3, 12) else {}

NOT_STARTED = unrun("there was no time left to start it", delay=0.0)
# Without a delay: the handler may not have let go yet, so the queue's own lock time has to pass.
INTERRUPTED = unrun("the deadline interrupted it", may_run=True)


class Deadline:
    """Until when work may start and has to end, in the seconds of `clock`.

    The `reserve` that follows `stop_at` is for settling: cancelled handlers get at most half of it.
    """

    __slots__ = ("clock", "reserve", "stop_at")

    def __init__(
        self,
        stop_at: float = inf,
        clock: Callable[[], float] = monotonic,
        *,
        reserve: float = 2 * CANCEL_SECONDS,
    ) -> None:
        self.stop_at = stop_at
        self.clock = clock
        self.reserve = reserve

    @property
    def grace(self) -> float:
        """Give the seconds for which cancelled handlers are waited for."""
        return min(CANCEL_SECONDS, self.reserve / 2)

    def may_settle(self) -> bool:
        """Tell whether time is left for another request to the queue service."""
        return self.left() > -0.75 * self.reserve

    def left(self) -> float:
        """Seconds that remain; negative once it has passed."""
        return self.stop_at - self.clock()


class Order:
    """The rule of ordered queues, applied to one delivery.

    A dead-letter is settled before its group goes on; one that cannot be settled is a retry.
    """

    __slots__ = ("_dead_letter_now", "_rule")

    def __init__(self, dead_letter_now: DeadLetterNow) -> None:
        self._dead_letter_now = dead_letter_now
        self._rule = GroupRule()

    def held(self, message: Message[Any]) -> Outcome | None:
        """Give the outcome of a message whose group has stopped, or None if it may run."""
        return self._rule.held(message.group_id)

    async def settle(self, message: Message[Any], outcome: Outcome) -> Outcome:
        """Take a message's outcome into account before the next one of its group."""
        if outcome.disposition is Disposition.DEAD_LETTER:
            outcome = await self._dead_letter_now(message, outcome)
        self._rule.learn(message.group_id, outcome)
        return outcome

    def cut_off(self, messages: Messages, outcomes: list[Outcome]) -> None:
        """Treat what the deadline interrupted, and what it kept from starting, like the rest."""
        for position, message in enumerate(messages):
            if outcomes[position] is INTERRUPTED:
                self._rule.learn(message.group_id, INTERRUPTED)
            elif outcomes[position] is NOT_STARTED:
                outcomes[position] = self.held(message) or NOT_STARTED


async def in_turn(
    messages: Messages, run: Run, deadline: Deadline, order: Order | None = None
) -> list[Outcome]:
    """Run one message after the other, for handlers that block.

    A message starts only while the time left exceeds the longest run so far; the first one always
    does while there is any, or one slow message would keep all later deliveries from starting.
    """
    if order is not None:
        run = _in_order_of(order, run)
    outcomes = [NOT_STARTED] * len(messages)
    clock, stop_at = deadline.clock, deadline.stop_at
    longest, started = 0.0, clock()
    for position, message in enumerate(messages):
        if started + longest >= stop_at:
            break
        outcomes[position] = await run(message)
        now = clock()
        if now - started > longest:
            longest = now - started
        started = now
    if order is not None:
        order.cut_off(messages, outcomes)
    return outcomes


def _in_order_of(order: Order, run: Run) -> Run:
    async def run_in_order(message: Message[Any]) -> Outcome:
        held = order.held(message)
        return held if held is not None else await order.settle(message, await run(message))

    return run_in_order


async def at_once(
    messages: Messages,
    run: Run,
    deadline: Deadline,
    *,
    concurrency: int,
    order: Order | None = None,
) -> list[Outcome]:
    """Run at most `concurrency` async handlers together; with an order, one of a group at a time.

    At the deadline the running ones are cancelled and waited for `deadline.grace`.
    """
    if not messages:
        return []
    outcomes = [NOT_STARTED] * len(messages)
    groups = lanes(messages) if order else [(position,) for position in range(len(messages))]
    waiting = iter(groups)

    async def work() -> None:
        for lane in waiting:  # one iterator for all workers: a lane goes to whoever is free
            for position in lane:
                if deadline.left() <= 0:
                    return
                outcomes[position] = await one(position, messages[position])

    async def one(position: int, message: Message[Any]) -> Outcome:
        held = order.held(message) if order else None
        if held is not None:
            return held
        outcomes[position] = INTERRUPTED
        outcome = await run(message)
        return await order.settle(message, outcome) if order else outcome

    await _until(deadline, _side_by_side(work, min(concurrency, len(groups))))
    final = list(outcomes)  # a handler that ignores its cancellation can change nothing any more
    if order:
        order.cut_off(messages, final)
    return final


async def as_one(
    messages: Messages,
    run_batch: RunBatch,
    deadline: Deadline,
    *,
    is_async: bool,
    order: Order | None = None,
) -> list[Outcome]:
    """Run a batch handler once over all messages."""
    if deadline.left() <= 0:
        return [NOT_STARTED] * len(messages)
    outcomes: Sequence[Outcome] = [INTERRUPTED] * len(messages)
    if is_async:
        from asyncio import create_task

        task = create_task(_as_coroutine(run_batch(messages)))
        await _until(deadline, [task])
        if task.done() and not task.cancelled():
            outcomes = task.result()
    else:
        outcomes = await run_batch(messages)
    return await _in_order(messages, outcomes, order) if order else list(outcomes)


def lanes(messages: Messages) -> list[Sequence[int]]:
    """Sort positions by group, first come first; messages without a group stand alone."""
    by_group: dict[str, list[int]] = {}
    found: list[Sequence[int]] = []
    for position, message in enumerate(messages):
        group = message.group_id
        if group is None:
            found.append((position,))
        elif group in by_group:
            by_group[group].append(position)
        else:
            by_group[group] = [position]
            found.append(by_group[group])
    return found


async def _in_order(messages: Messages, outcomes: Iterable[Outcome], order: Order) -> list[Outcome]:
    kept = []
    for message, outcome in zip(messages, outcomes, strict=True):
        kept.append(order.held(message) or await order.settle(message, outcome))
    return kept


def _side_by_side(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> list[Task[None]]:
    from asyncio import Task, get_running_loop

    loop = get_running_loop()
    tasks: list[Task[None]] = []
    for _ in range(count):
        task = Task(work(), loop=loop, **EAGER)
        if task.done() and not task.cancelled() and task.exception() is None:
            break  # it never had to wait, and has left nothing to do for another one
        tasks.append(task)
    return tasks


async def _until(deadline: Deadline, tasks: Sequence[Task[Any]]) -> None:
    if not tasks:
        return
    from asyncio import wait

    left = deadline.left()
    _, running = await wait(tasks, timeout=None if left == inf else max(left, 0.0))
    if running:
        for task in running:
            task.cancel("the deadline is near")
        await wait(running, timeout=deadline.grace)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()  # nothing of ours may fail silently


async def _as_coroutine(awaitable: Awaitable[Sequence[Outcome]]) -> Sequence[Outcome]:
    return await awaitable
