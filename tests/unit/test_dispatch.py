import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any

import pytest

from queue_runtime import dispatch
from queue_runtime.dispatch import (
    INTERRUPTED,
    NOT_STARTED,
    Deadline,
    Order,
    as_one,
    at_once,
    in_turn,
    lanes,
)
from queue_runtime.message import Message
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.pipeline import run_blocking
from tests.lambda_rig import Clock

SOON = 0.05  # real seconds until a deadline that an async test waits for


def _retry(delay: float | None = None) -> Outcome:
    return Outcome(Disposition.RETRY, delay=delay)


def _dead() -> Outcome:
    return Outcome(Disposition.DEAD_LETTER)


def _messages(*groups: str | None) -> list[Message[str]]:
    return [Message.of(f"{g}{at}", id=f"{g}{at}", group_id=g) for at, g in enumerate(groups)]


class Settler:
    """Carries dead-letters out, or refuses them, and writes down when."""

    def __init__(self, journal: list[str], *, refuses: bool = False) -> None:
        self.journal, self.refuses = journal, refuses

    async def __call__(self, message: Message[Any], outcome: Outcome) -> Outcome:
        self.journal.append(f"dead-letter {message.id}")
        return _retry() if self.refuses else outcome


def _order(journal: list[str] | None = None, *, refuses: bool = False) -> Order:
    return Order(Settler([] if journal is None else journal, refuses=refuses))


def _run(
    journal: list[str], fates: dict[str, Outcome] | None = None, after: Callable[[], object] = int
) -> Callable[[Message[Any]], Awaitable[Outcome]]:
    async def run(message: Message[Any]) -> Outcome:
        journal.append(message.id)
        after()
        return (fates or {}).get(message.id, ACK)

    return run


def _in_turn(messages: Any, run: Any, deadline: Deadline, order: Order | None = None) -> Any:
    return run_blocking("test", in_turn(messages, run, deadline, order))


def _is_tail(outcome: Outcome, delay: float | None) -> bool:
    return (
        outcome.disposition is Disposition.RETRY
        and outcome.unrun
        and outcome.delay == delay
        and outcome.reason == "an earlier message of its group was not done"
    )


def test_a_deadline_that_never_comes() -> None:
    deadline = Deadline()
    assert deadline.left() == inf
    assert deadline.may_settle()


def test_cancelled_handlers_get_half_the_reserve_and_never_more_than_their_half_second() -> None:
    assert Deadline(reserve=0.2).grace == 0.1
    assert Deadline(reserve=9).grace == dispatch.CANCEL_SECONDS == 0.5


def test_settling_begins_no_request_in_the_last_quarter_of_the_reserve() -> None:
    clock = Clock()
    deadline = Deadline(clock() + 10, clock, reserve=4)
    clock.advance(12.9)
    assert deadline.may_settle()
    clock.advance(0.2)
    assert not deadline.may_settle()


def test_lanes_keep_the_order_of_groups_and_in_groups() -> None:
    assert [list(lane) for lane in lanes(_messages("a", "b", None, "a", None, "b"))] == [
        [0, 3],
        [1, 5],
        [2],
        [4],
    ]


def test_one_runs_after_the_other() -> None:
    journal: list[str] = []
    messages = _messages("a", "a", "b")
    assert _in_turn(messages, _run(journal), Deadline()) == [ACK] * 3
    assert journal == ["a0", "a1", "b2"]


def test_without_an_order_groups_mean_nothing() -> None:
    journal: list[str] = []
    outcomes = _in_turn(_messages("a", "a"), _run(journal, {"a0": _retry(3)}), Deadline())
    assert [str(o.disposition) for o in outcomes] == ["retry", "ack"]


def test_one_starts_only_while_the_time_left_exceeds_the_longest_so_far() -> None:
    clock = Clock()
    took = iter([3.0, 1.0, 0.5])
    journal: list[str] = []
    run = _run(journal, after=lambda: clock.advance(next(took)))
    outcomes = _in_turn(_messages("a", "b", "c", "d"), run, Deadline(clock() + 7, clock))
    # After 4 s there are 3 left, which is not more than the longest, 3.
    assert journal == ["a0", "b1"]
    assert outcomes[2:] == [NOT_STARTED, NOT_STARTED]
    assert NOT_STARTED.delay == 0
    assert NOT_STARTED.unrun


def test_the_first_one_starts_while_there_is_any_time_at_all() -> None:
    clock = Clock()
    run = _run([], after=lambda: clock.advance(60))
    outcomes = _in_turn(_messages("a", "b"), run, Deadline(clock() + 0.001, clock))
    assert outcomes == [ACK, NOT_STARTED]
    assert _in_turn(_messages("a"), run, Deadline(clock(), clock)) == [NOT_STARTED]


def test_the_rest_of_a_group_comes_back_unrun_with_the_delay_of_what_stopped_it() -> None:
    journal: list[str] = []
    outcomes = _in_turn(
        _messages("a", "b", "a", "b"), _run(journal, {"a0": _retry(7)}), Deadline(), _order()
    )
    assert journal == ["a0", "b1", "b3"]
    assert outcomes[1] is outcomes[3] is ACK
    assert _is_tail(outcomes[2], 7)


def test_a_dead_letter_is_settled_before_its_group_goes_on() -> None:
    journal: list[str] = []
    _in_turn(_messages("a", "a"), _run(journal, {"a0": _dead()}), Deadline(), _order(journal))
    assert journal == ["a0", "dead-letter a0", "a1"]


def test_a_dead_letter_that_cannot_be_settled_stops_its_group() -> None:
    journal: list[str] = []
    outcomes = _in_turn(
        _messages("a", "a"),
        _run(journal, {"a0": _dead()}),
        Deadline(),
        _order(journal, refuses=True),
    )
    assert journal == ["a0", "dead-letter a0"]
    assert outcomes[0].disposition is Disposition.RETRY
    assert _is_tail(outcomes[1], None)


def test_the_tail_keeps_its_groups_delay_even_when_there_is_no_time_left_to_look_at_it() -> None:
    clock = Clock()
    run = _run([], {"a0": _retry(30)}, after=lambda: clock.advance(60))
    outcomes = _in_turn(_messages("a", "b", "a"), run, Deadline(clock() + 60, clock), _order())
    assert outcomes[1] is NOT_STARTED
    assert _is_tail(outcomes[2], 30)


def _at_once(
    messages: Sequence[Message[Any]],
    run: Any,
    deadline: Deadline | None = None,
    *,
    concurrency: int = 10,
    order: Order | None = None,
) -> list[Outcome]:
    return asyncio.run(
        at_once(messages, run, deadline or Deadline(), concurrency=concurrency, order=order)
    )


def test_nothing_to_run() -> None:
    assert _at_once([], _run([])) == []


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_never_more_than_the_allowed_number_run_together(concurrency: int) -> None:
    running, most = 0, 0

    async def run(message: Message[Any]) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return ACK

    assert _at_once(_messages(*["a"] * 20), run, concurrency=concurrency) == [ACK] * 20
    assert most == min(concurrency, 20)


def test_a_slow_one_holds_nobody_but_itself_up() -> None:
    async def main() -> list[Outcome]:
        others_done = asyncio.Event()
        done = 0

        async def run(message: Message[Any]) -> Outcome:
            nonlocal done
            if message.id == "a0":
                await others_done.wait()
            done += 1
            if done == 9:
                others_done.set()
            return ACK

        return await at_once(_messages(*["a"] * 10), run, Deadline(), concurrency=2)

    assert asyncio.run(main()) == [ACK] * 10


def test_with_an_order_one_of_a_group_runs_at_a_time_and_groups_run_together() -> None:
    journal: list[str] = []
    running: set[str] = set()
    together: set[frozenset[str]] = set()

    async def run(message: Message[Any]) -> Outcome:
        group = str(message.group_id)
        assert group not in running
        running.add(group)
        together.add(frozenset(running))
        await asyncio.sleep(0)
        running.discard(group)
        journal.append(message.id)
        return _retry(5) if message.id == "a2" else ACK

    outcomes = _at_once(_messages("a", "b", "a", "b", "a", None), run, order=_order())
    assert [each for each in journal if each[0] == "a"] == ["a0", "a2"]
    assert [each for each in journal if each[0] == "b"] == ["b1", "b3"]
    assert frozenset("ab") in together
    assert _is_tail(outcomes[4], 5)
    assert outcomes[5] is ACK


@pytest.mark.parametrize("refuses", [False, True])
def test_a_dead_letter_is_settled_before_its_group_goes_on_in_a_loop_too(refuses: bool) -> None:
    journal: list[str] = []
    _at_once(
        _messages("a", "a"),
        _run(journal, {"a0": _dead()}),
        order=_order(journal, refuses=refuses),
    )
    assert journal == ["a0", "dead-letter a0"] + ([] if refuses else ["a1"])


def test_at_the_deadline_the_running_are_interrupted_and_the_rest_not_started() -> None:
    cancelled = []

    async def run(message: Message[Any]) -> Outcome:
        if message.id == "a0":
            return ACK
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.id)
            raise
        return ACK

    outcomes = _at_once(_messages(*["a"] * 4), run, Deadline(_now() + SOON, _now), concurrency=2)
    assert outcomes == [ACK, INTERRUPTED, INTERRUPTED, NOT_STARTED]
    assert sorted(cancelled) == ["a1", "a2"]
    # A handler may not have let go yet, so the queue's own lock has to end first.
    assert INTERRUPTED.delay is None
    assert INTERRUPTED.unrun


def _now() -> float:
    from time import monotonic

    return monotonic()


def test_what_is_done_while_it_is_being_cancelled_is_done() -> None:
    async def run(message: Message[Any]) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ACK
        return ACK

    outcomes = _at_once(_messages("a", "a"), run, Deadline(_now() + SOON, _now), concurrency=1)
    assert outcomes == [ACK, NOT_STARTED]


def test_a_handler_that_ignores_its_cancellation_is_left_behind_and_changes_nothing() -> None:
    async def main() -> list[Outcome]:
        let_go = asyncio.Event()
        ended = asyncio.Event()

        async def run(message: Message[Any]) -> Outcome:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            ended.set()
            return ACK

        deadline = Deadline(_now() + SOON, _now, reserve=2 * SOON)
        outcomes = await at_once(_messages("a", "a"), run, deadline, concurrency=1)
        assert not ended.is_set()
        let_go.set()
        await ended.wait()
        await asyncio.sleep(0)
        return outcomes

    assert asyncio.run(main()) == [INTERRUPTED, NOT_STARTED]


def test_an_interrupted_message_stops_its_group_with_the_queues_own_lock_time() -> None:
    async def run(message: Message[Any]) -> Outcome:
        await asyncio.Event().wait()
        return ACK

    outcomes = _at_once(
        _messages("a", "b", "a", "b"),
        run,
        Deadline(_now() + SOON, _now),
        concurrency=1,
        order=_order(),
    )
    assert outcomes[0] is INTERRUPTED
    assert _is_tail(outcomes[2], None)
    assert outcomes[1] is outcomes[3] is NOT_STARTED


def test_a_stopped_groups_tail_keeps_its_delay_at_the_deadline_in_a_loop_too() -> None:
    clock = Clock()

    async def run(message: Message[Any]) -> Outcome:
        clock.advance(60)
        return _retry(30)

    outcomes = _at_once(
        _messages("a", "a"), run, Deadline(clock() + 1, clock), concurrency=1, order=_order()
    )
    assert outcomes[0].delay == 30
    assert _is_tail(outcomes[1], 30)


def test_nothing_of_ours_fails_silently_in_a_task() -> None:
    async def run(message: Message[Any]) -> Outcome:
        raise RuntimeError("a defect of ours")

    with pytest.raises(RuntimeError, match="a defect of ours"):
        _at_once(_messages("a"), run)


def _as_one(
    messages: Sequence[Message[Any]],
    run_batch: Any,
    deadline: Deadline | None = None,
    *,
    is_async: bool = False,
    order: Order | None = None,
) -> list[Outcome]:
    return asyncio.run(
        as_one(messages, run_batch, deadline or Deadline(), is_async=is_async, order=order)
    )


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_runs_once(is_async: bool) -> None:
    async def run_batch(messages: Any) -> list[Outcome]:
        return [ACK, _retry(1)][: len(messages)]

    outcomes = _as_one(_messages("a", "a"), run_batch, is_async=is_async)
    assert [str(outcome.disposition) for outcome in outcomes] == ["ack", "retry"]


def test_a_batch_does_not_start_without_time() -> None:
    clock = Clock()
    assert _as_one(_messages("a", "b"), None, Deadline(clock(), clock)) == [NOT_STARTED] * 2


@pytest.mark.parametrize("ordered", [False, True])
def test_a_batch_that_the_deadline_interrupts_comes_back_whole(ordered: bool) -> None:
    async def run_batch(messages: Any) -> list[Outcome]:
        await asyncio.Event().wait()
        return []

    outcomes = _as_one(
        _messages("a", "a", "b"),
        run_batch,
        Deadline(_now() + SOON, _now),
        is_async=True,
        order=_order() if ordered else None,
    )
    assert [(str(o.disposition), o.unrun, o.delay) for o in outcomes] == [("retry", True, None)] * 3


def test_a_batch_handler_that_ignores_its_cancellation_is_left_behind() -> None:
    async def main() -> list[Outcome]:
        let_go, ended = asyncio.Event(), asyncio.Event()

        async def run_batch(messages: Any) -> list[Outcome]:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            ended.set()
            return [ACK]

        deadline = Deadline(_now() + SOON, _now, reserve=2 * SOON)
        outcomes = await as_one(_messages("a"), run_batch, deadline, is_async=True)
        let_go.set()
        await ended.wait()
        await asyncio.sleep(0)
        return outcomes

    assert asyncio.run(main()) == [INTERRUPTED]


def test_a_batch_that_ends_well_while_it_is_being_cancelled_is_done() -> None:
    async def run_batch(messages: Any) -> list[Outcome]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return [ACK]
        return []

    deadline = Deadline(_now() + SOON, _now)
    assert _as_one(_messages("a"), run_batch, deadline, is_async=True) == [ACK]


def test_in_an_ordered_batch_the_first_failure_also_returns_the_later_of_its_group() -> None:
    journal: list[str] = []

    async def run_batch(messages: Any) -> list[Outcome]:
        return [ACK, _retry(9), _dead(), ACK, ACK, _dead()]

    outcomes = _as_one(_messages("a", "a", "b", "a", "b", "a"), run_batch, order=_order(journal))
    assert [str(outcome.disposition) for outcome in outcomes] == [
        "ack",
        "retry",
        "dead-letter",
        "retry",
        "ack",
        "retry",
    ]
    assert _is_tail(outcomes[3], 9)
    assert _is_tail(outcomes[5], 9)
    assert journal == ["dead-letter b2"]


def test_an_outcome_for_each_message_of_an_ordered_batch_is_asked_for() -> None:
    async def run_batch(messages: Any) -> list[Outcome]:
        return [ACK]

    with pytest.raises(ValueError, match="zip"):
        _as_one(_messages("a", "a"), run_batch, order=_order())


def test_settling_begins_no_request_exactly_at_the_last_quarter_of_the_reserve() -> None:
    clock = Clock()
    deadline = Deadline(clock(), clock, reserve=4)
    clock.advance(3)
    assert not deadline.may_settle()


def test_nothing_is_started_exactly_at_the_deadline() -> None:
    clock = Clock()
    journal: list[str] = []
    outcomes = _at_once(_messages("a"), _run(journal), Deadline(clock(), clock))
    assert (outcomes, journal) == ([NOT_STARTED], [])


def test_a_handler_is_told_why_it_is_cancelled() -> None:
    reasons: list[Any] = []

    async def run(message: Message[Any]) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            reasons.extend(error.args)
            raise
        return ACK

    _at_once(_messages("a"), run, Deadline(_now() + SOON, _now))
    assert reasons == ["the deadline is near"]


def _waits(monkeypatch: pytest.MonkeyPatch, left: float) -> list[float | None]:
    """Give how long `at_once` waits for handlers, in seconds, where so many are `left`."""
    waits: list[float | None] = []
    wait = asyncio.wait

    async def noted(tasks: Any, **options: Any) -> Any:
        waits.append(options["timeout"])
        return await wait(tasks, **options)

    monkeypatch.setattr(asyncio, "wait", noted)
    clock = Clock()

    async def run(message: Message[Any]) -> Outcome:
        await asyncio.sleep(0)
        return ACK

    _at_once(_messages("a"), run, Deadline(clock() + left, clock))
    return waits


def test_without_a_deadline_handlers_are_waited_for_as_long_as_they_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _waits(monkeypatch, inf) == [None]


@pytest.mark.parametrize("left", [0.5, 60])
def test_handlers_are_waited_for_as_long_as_there_is_time(
    left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _waits(monkeypatch, left) == [left]
