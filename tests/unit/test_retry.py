from asyncio import TaskGroup
from typing import Any

import pytest

from queue_runtime import queue_handler
from queue_runtime.errors import BodyDecodeError, HandlerDefinitionError
from queue_runtime.message import Message
from queue_runtime.outcome import DeadLetter, Discard, Disposition, Outcome, Retry
from queue_runtime.retry import Backoff, RetryPolicy
from queue_runtime.testing import deliver

STEADY = Backoff(3, jitter=False)


def _outcome(policy: RetryPolicy, error: BaseException, *, deliveries: int = 1) -> Outcome:
    return policy.outcome(error, Message.of("body", delivery_count=deliveries))


@pytest.mark.parametrize(
    ("deliveries", "seconds"), [(0, 3), (1, 3), (2, 6), (3, 12), (4, 24), (5, 30), (10**9, 30)]
)
def test_the_delay_doubles_with_each_delivery_up_to_the_maximum(
    deliveries: int, seconds: float
) -> None:
    assert Backoff(3, maximum=30, jitter=False).delay(deliveries) == seconds


def test_jitter_spreads_over_the_whole_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 1.5

    monkeypatch.setattr("random.uniform", uniform)
    assert Backoff(3).delay(2) == 1.5
    assert asked == [(0, 6)]


def test_a_factor_beyond_all_floats_gives_the_maximum() -> None:
    assert Backoff(1.0, factor=1e9, maximum=60, jitter=False).delay(1000) == 60


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["base", "factor", "maximum"])
def test_a_backoff_that_no_queue_can_keep_is_refused(name: str, number: float) -> None:
    options: dict[str, Any] = {name: number}
    with pytest.raises(HandlerDefinitionError, match=r"Backoff\(\) takes"):
        Backoff(**options)


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(HandlerDefinitionError, match=r"factor=0\.5"):
        Backoff(factor=0.5)


def test_a_backoff_shows_itself() -> None:
    assert repr(STEADY) == "Backoff(3, factor=2.0, maximum=900.0, jitter=False)"


def test_any_exception_is_retried_by_the_backoff_and_shown_by_its_type_only() -> None:
    outcome = _outcome(RetryPolicy(backoff=STEADY), RuntimeError("SECRET"), deliveries=2)
    assert (outcome.disposition, outcome.delay) == (Disposition.RETRY, 6)
    assert outcome.reason == "RuntimeError"
    assert isinstance(outcome.error, RuntimeError)


def test_what_retry_asks_for_goes_over_the_backoff() -> None:
    assert _outcome(RetryPolicy(backoff=STEADY), Retry("busy", after=0)).delay == 0
    assert _outcome(RetryPolicy(backoff=STEADY), Retry("busy")).delay == 3


def test_poison_is_dead_lettered_on_its_first_delivery() -> None:
    outcome = _outcome(RetryPolicy(), BodyDecodeError("the body is not JSON"))
    assert outcome.disposition is Disposition.DEAD_LETTER
    assert outcome.reason == "poison: the body is not JSON"


def test_poison_does_not_point_at_the_decoder() -> None:
    try:
        raise BodyDecodeError("the body is not JSON")
    except BodyDecodeError as error:
        outcome = _outcome(RetryPolicy(), error)
    assert outcome.error is not None
    assert outcome.error.__traceback__ is None


def test_poison_cannot_be_made_anything_else() -> None:
    policy = RetryPolicy(reactions={Exception: Discard})
    assert _outcome(policy, BodyDecodeError("x")).disposition is Disposition.DEAD_LETTER


@pytest.mark.parametrize("error", [ValueError(), Retry("busy", after=60)])
def test_a_retry_on_the_last_delivery_is_dead_lettered(error: Exception) -> None:
    policy = RetryPolicy(max_deliveries=3)
    assert _outcome(policy, error, deliveries=2).disposition is Disposition.RETRY
    last = _outcome(policy, error, deliveries=3)
    assert (last.disposition, last.delay) == (Disposition.DEAD_LETTER, None)
    assert last.reason.startswith("failed on delivery 3 of 3: ")
    assert _outcome(policy, error, deliveries=9).disposition is Disposition.DEAD_LETTER


def test_discard_on_the_last_delivery_is_still_an_acknowledgement() -> None:
    outcome = _outcome(RetryPolicy(max_deliveries=1), Discard("old"))
    assert (outcome.disposition, outcome.reason) == (Disposition.ACK, "old")


@pytest.mark.parametrize(
    ("reaction", "disposition", "delay", "reason"),
    [
        (DeadLetter, "dead-letter", None, "KeyError"),
        (DeadLetter("no such order"), "dead-letter", None, "no such order"),
        (Discard, "ack", None, "KeyError"),
        (Retry(after=5), "retry", 5, "KeyError"),
        (Retry("wait", after=5), "retry", 5, "wait"),
        (Retry, "retry", 3, "KeyError"),
        (Backoff(7, jitter=False), "retry", 7, "KeyError"),
    ],
)
def test_an_exception_class_can_mean_something_else(
    reaction: Any, disposition: str, delay: float | None, reason: str
) -> None:
    policy = RetryPolicy(backoff=STEADY, reactions={LookupError: reaction})
    error = KeyError("SECRET")
    outcome = _outcome(policy, error)
    assert (outcome.disposition, outcome.delay, outcome.reason) == (disposition, delay, reason)
    assert outcome.error is error


def test_the_nearest_class_counts_and_others_do_not() -> None:
    policy = RetryPolicy(reactions={Exception: DeadLetter, KeyError: Discard, OSError: Retry})
    assert _outcome(policy, KeyError()).disposition is Disposition.ACK
    assert _outcome(policy, IndexError()).disposition is Disposition.DEAD_LETTER
    assert _outcome(policy, SystemExit()).disposition is Disposition.RETRY


def test_a_signal_that_is_raised_goes_over_the_table() -> None:
    policy = RetryPolicy(reactions={Exception: Discard})
    assert _outcome(policy, Retry("busy", after=1)).disposition is Disposition.RETRY


@pytest.mark.parametrize(
    ("reactions", "sentence"),
    [
        ({"ValueError": Retry}, "maps exception classes, not 'ValueError'"),
        ({int: Retry}, "maps exception classes, not <class 'int'>"),
        ({ValueError: "retry"}, r"on_error\[ValueError\] takes Retry"),
        ({ValueError: ValueError}, r"on_error\[ValueError\] takes Retry"),
    ],
)
def test_a_table_that_cannot_work_is_refused(reactions: Any, sentence: str) -> None:
    with pytest.raises(HandlerDefinitionError, match=sentence):
        RetryPolicy(reactions=reactions)


def _group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("unhandled errors in a TaskGroup", errors)


@pytest.mark.parametrize(
    ("error", "disposition", "reason"),
    [
        (_group(DeadLetter("no customer")), Disposition.DEAD_LETTER, "no customer"),
        (_group(KeyError("x")), Disposition.DEAD_LETTER, "KeyError"),
        (_group(_group(_group(DeadLetter("deep")))), Disposition.DEAD_LETTER, "deep"),
        (_group(ValueError(), DeadLetter("no customer")), Disposition.DEAD_LETTER, "no customer"),
        (_group(DeadLetter("no customer"), Retry("busy")), Disposition.RETRY, "busy"),
        (_group(DeadLetter("no customer"), OSError()), Disposition.RETRY, "OSError"),
        (_group(Discard("seen"), DeadLetter("bad")), Disposition.DEAD_LETTER, "bad"),
        (_group(Discard("seen"), ValueError()), Disposition.RETRY, "ExceptionGroup"),
        (_group(Discard("seen"), Discard("old")), Disposition.ACK, "seen"),
        (_group(ValueError()), Disposition.RETRY, "ValueError"),
        (_group(ValueError(), TypeError()), Disposition.RETRY, "ExceptionGroup"),
        (_group(BodyDecodeError("no JSON")), Disposition.DEAD_LETTER, "poison: no JSON"),
    ],
)
def test_of_a_group_the_safest_decision_inside_it_counts(
    error: Exception, disposition: Disposition, reason: str
) -> None:
    policy = RetryPolicy(reactions={LookupError: DeadLetter, OSError: Backoff(9, jitter=False)})
    outcome = _outcome(policy, error)
    assert (outcome.disposition, outcome.reason) == (disposition, reason)


def test_of_two_retries_in_a_group_the_later_one_counts() -> None:
    outcome = _outcome(RetryPolicy(), _group(Retry("soon", after=1), Retry("later", after=60)))
    assert (outcome.delay, outcome.reason) == (60, "later")


def test_a_decision_inside_a_group_is_the_error_that_is_told() -> None:
    inner = DeadLetter("no customer")
    assert _outcome(RetryPolicy(), _group(ValueError(), inner)).error is inner


@pytest.mark.parametrize("named", [ExceptionGroup, BaseExceptionGroup])
def test_on_error_can_name_groups_as_such(named: type[Exception]) -> None:
    policy = RetryPolicy(reactions={named: DeadLetter("a part failed")})
    outcome = _outcome(policy, _group(Retry("busy")))
    assert (outcome.disposition, outcome.reason) == (Disposition.DEAD_LETTER, "a part failed")


def test_a_decision_in_a_task_group_of_a_handler_is_that_decision() -> None:
    @queue_handler
    async def take(order: dict[str, Any]) -> None:
        async def part() -> None:
            raise DeadLetter("no such customer")

        async with TaskGroup() as group:
            group.create_task(part())

    outcome = deliver(take, {})
    assert (outcome.disposition, outcome.reason) == (Disposition.DEAD_LETTER, "no such customer")


def test_a_backoff_begins_with_a_second_and_ends_with_a_quarter_of_an_hour() -> None:
    assert repr(Backoff()) == "Backoff(1.0, factor=2.0, maximum=900.0, jitter=True)"


@pytest.mark.parametrize(("name", "least"), [("base", 0), ("factor", 1), ("maximum", 0)])
def test_the_least_that_a_backoff_takes_is_taken(name: str, least: float) -> None:
    options: dict[str, Any] = {name: least, "jitter": False}
    assert getattr(Backoff(**options), name) == least


@pytest.mark.parametrize("name", ["base", "maximum"])
def test_a_backoff_takes_parts_of_a_second(name: str) -> None:
    options: dict[str, Any] = {name: 0.5, "jitter": False}
    assert Backoff(**options).delay(1) == 0.5


def test_a_factor_between_one_and_two_is_taken() -> None:
    assert Backoff(2, factor=1.5, jitter=False).delay(2) == 3


def test_a_refused_backoff_says_what_it_takes_and_what_it_was_given() -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        Backoff(-1)
    assert str(refused.value) == (
        "Backoff() takes base and maximum of 0 or more and a factor of 1 or more, all finite, "
        "not base=-1, factor=2.0, maximum=900.0"
    )


@pytest.mark.parametrize(
    "errors",
    [
        (BodyDecodeError("first"), DeadLetter("second")),
        (DeadLetter("first"), BodyDecodeError("second")),
        (Discard("first"), Discard("second")),
        (Retry("first"), Retry("second", after=0.5), Retry("third")),
        (Retry("first", after=0.5), Retry("second")),
    ],
)
def test_of_equals_in_a_group_the_first_or_the_later_due_counts(
    errors: tuple[Exception, ...],
) -> None:
    reason = _outcome(RetryPolicy(), _group(*errors)).reason
    latest = max(errors, key=lambda error: getattr(error, "after", None) or 0)
    assert reason.removeprefix("poison: ") == str(latest)
