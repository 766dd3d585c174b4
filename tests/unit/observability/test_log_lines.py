"""Every log line has the same fields, shows nothing harmful, and cannot raise."""

from __future__ import annotations

import logging
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.errors import BodyDecodeError, TransportError
from queue_runtime.message import Message
from queue_runtime.observability import metrics
from queue_runtime.observability.events import Events, GroupsOfDelivery, events
from queue_runtime.observability.log_lines import (
    FIELDS,
    HeldLines,
    causes,
    count_lost,
    fields,
    stack,
)
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.plan import Action, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "body and key"


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def _message(queue: str = "q", identity: str = "m1") -> Message[str]:
    return Message.of(
        SECRET, id=identity, queue=queue, group_id="g", correlation_id="c", delivery_count=2
    )


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as raised:
        return raised


def _fields(line: logging.LogRecord) -> list[Any]:
    return [getattr(line, name) for name in FIELDS]


def _lost(queue: str) -> dict[str, float]:
    return {labels[1]: n for labels, n in metrics.ERRORS.values().items() if labels[0] == queue}


# --- the fields ----------------------------------------------------------------------------------


def test_a_line_about_a_message_names_it(caplog: pytest.LogCaptureFixture) -> None:
    events.warning(_message(), "abandon", "could not be delayed: %s", "no broker")
    (line,) = caplog.records
    assert line.getMessage() == "message m1 of q could not be delayed: no broker"
    assert _fields(line) == ["q", "m1", "g", "c", "abandon", 2]
    assert (line.name, line.levelno) == ("queue_runtime", logging.WARNING)


def test_a_line_about_a_queue_has_its_name_and_the_operation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events.error("q", "receive", "receiving from %s failed", "q")
    (line,) = caplog.records
    assert line.getMessage() == "receiving from q failed"
    assert _fields(line) == ["q", None, None, None, "receive", None]


def test_a_line_about_neither_has_an_operation(caplog: pytest.LogCaptureFixture) -> None:
    events.warning(None, "processes", "a process ended with %d", 3)
    assert _fields(caplog.records[0]) == [None, None, None, None, "processes", None]


def test_a_line_about_several_messages_names_the_first_ten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events.error([_message(identity=f"m{n}") for n in range(12)], "middleware", "come back")
    (line,) = caplog.records
    assert line.getMessage() == "12 messages of q come back"
    assert _fields(line) == ["q", None, None, None, "middleware", None]
    assert vars(line)["message_count"] == 12
    assert vars(line)["message_ids"] == [f"m{n}" for n in range(10)]


def test_one_of_a_list_is_a_message_and_none_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    events.error([_message()], "middleware", "comes back")
    events.error([], "middleware", "come back")
    one, none = caplog.records
    assert _fields(one)[1] == "m1"
    assert none.getMessage() == "0 messages of None come back"


# --- what is shown -------------------------------------------------------------------------------


def test_an_error_is_its_type_and_its_place_and_never_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = _raised(KeyError(SECRET))
    events.error(
        _message(), "middleware", "comes back: a middleware raised %s", error, raised=error
    )
    (line,) = caplog.records
    place = vars(line)["stack"][0]
    assert place.endswith("in _raised")
    assert line.getMessage().endswith(f"a middleware raised KeyError (at {place})")
    assert vars(line)["error_type"] == "KeyError"
    assert SECRET not in str(vars(line))


def _chained(length: int) -> ValueError:
    error = ValueError(SECRET)
    for _ in range(length):
        try:
            raise ValueError(SECRET) from error
        except ValueError as raised:
            error = raised
    return error


def test_what_an_error_came_from_is_shown_by_type_and_place_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise ValueError(SECRET)  # noqa: B904 - the context counts as well as a cause
    except ValueError as error:
        events.error(_message(), "middleware", "comes back", raised=error)
    (text,) = caplog.messages
    assert "; because of KeyError at " in text
    assert SECRET not in text


def test_causes_are_few_and_never_go_in_a_circle() -> None:
    assert len(causes(_chained(9))) == 3
    circle = _chained(1)
    assert circle.__cause__ is not None
    circle.__cause__.__cause__ = circle
    assert len(causes(circle)) == 1
    hidden = ValueError()
    hidden.__context__, hidden.__suppress_context__ = KeyError(), True
    assert causes(hidden) == []


def test_an_error_of_ours_is_shown_by_its_text(caplog: pytest.LogCaptureFixture) -> None:
    events.warning("q", "receive", "failed: %s", TransportError("no\nanswer"))
    assert caplog.messages == ["failed: no\\nanswer"]


def test_poison_does_not_point_at_our_own_code() -> None:
    assert stack(_raised(BodyDecodeError("x"))) == []


def test_what_a_producer_wrote_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    message = Message.of(
        b"",
        id="\x1b[31m" + "x" * 250_000,
        group_id="g\ud800",
        correlation_id="c\nFORGED",
        delivery_count=10**5000,
    )
    events.warning(message, "abandon", "to be retried: %s %s", "a\nb", "y" * 250_000)
    (line,) = caplog.records
    assert len(line.getMessage()) < 4_000
    assert line.getMessage().isprintable()
    _, identity, group, correlation, _, count = _fields(line)
    assert identity.startswith("\\x1b[31mxxx")
    assert (group, correlation, count) == ("g\\ud800", "c\\nFORGED", 2**31 - 1)


def test_numbers_stay_numbers(caplog: pytest.LogCaptureFixture) -> None:
    events.warning("q", "receive", "%d tries, the next in %.1f s", 10**5000, 0.25)
    assert caplog.messages == ["2147483647 tries, the next in 0.2 s"]


class Unreadable(Message[bytes]):
    """A message of which nothing can be read."""

    def __init__(self) -> None:
        self.queue = "unreadable"
        self._wire = None  # type: ignore[assignment]
        self.native = None


def test_a_field_that_cannot_be_read_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    events.warning(Unreadable(), "abandon", "comes back")
    assert caplog.messages == ["message <AttributeError> of unreadable comes back"]
    assert fields(Unreadable(), "x")["delivery_count"] == "<AttributeError>"


def test_nothing_is_made_for_a_level_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    events.info("q", "x", "x")
    events.warning("q", "x", "x")
    assert caplog.records == []


# --- nothing raises ------------------------------------------------------------------------------


class Broken(logging.Handler):
    """Raises at each line, as AWS's does where a text has no form in UTF-8."""

    def emit(self, record: logging.LogRecord) -> None:
        raise UnicodeError


@pytest.fixture
def broken() -> Iterator[None]:
    handler, logger = Broken(), logging.getLogger("queue_runtime")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


class BrokenWatcher:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError


def _public_calls(queue: str) -> dict[str, tuple[Any, ...]]:
    """Give arguments that make each method fail where it can."""
    message = Message.of(b"", queue=queue)
    retry = Outcome(Disposition.RETRY, reason="x", error=ValueError())
    return {
        "info": (queue, "x", "%d", "no number"),
        "debug": (message, "x", "%s %s"),
        "trace": (queue, "x", "%s %s"),
        "warning": (message, "x", "%s %s"),
        "error": ([message, message], "x", "x"),
        "observe": (message, _raise),
        "watch": (BrokenWatcher(),),
        "unwatch": (BrokenWatcher(),),
        "say_once": (queue, "thing", "cannot"),
        "received": (queue, [message, message]),
        "settled": (queue, [message] * 4, [ACK, retry, Outcome(Disposition.DEAD_LETTER), retry]),
        "noted": (queue, [Step(Action.GIVE_BACK, message, retry, note="no delays here")]),
        "lock_lost": (message, ACK),
        "still_running": (message, "shop.take"),
        "sent": (queue, 2, 1, 0.1),
        "settle_request": (queue, "no number"),
        "session_accepted": (queue, "s"),
        "session_ended": (queue, "s", "no number"),
    }


def _raise() -> None:
    raise RuntimeError(SECRET)


METHODS = sorted(name for name in dir(Events) if not name.startswith("_"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("broken")
def test_no_method_raises_whatever_it_meets(method: str) -> None:
    one = Events()
    one.watching = True
    one.watch(BrokenWatcher())
    queue = f"broken-{method}"
    call: Callable[..., object] = getattr(one, method)
    call(*_public_calls(queue)[method])
    silent = {"watch", "unwatch", "debug", "trace"}  # the last two are not read here
    assert method in silent or sum(_lost(queue).values()) > 0


@pytest.mark.usefixtures("broken")
def test_a_line_that_is_lost_is_counted_and_costs_no_other_count() -> None:
    queue = "lost-lines"
    messages = [_message(queue) for _ in range(3)]
    retry = Outcome(Disposition.RETRY, reason="x", error=ValueError())
    events.settled(queue, messages, [ACK, retry, ACK])
    assert _lost(queue) == {"ValueError": 1, "log:UnicodeError": 3}
    assert metrics.MESSAGES_COMPLETED.values()[queue,] == 2
    assert metrics.MESSAGES_ABANDONED.values()[queue,] == 1


def test_outcomes_that_do_not_fit_their_messages_are_counted() -> None:
    events.settled("misfit", [_message("misfit")], [ACK, ACK])
    assert _lost("misfit") == {"log:ValueError": 1}


def test_groups_that_cannot_be_read_are_no_sessions() -> None:
    groups = GroupsOfDelivery("unreadable-groups", [Unreadable()])
    groups.ended([Unreadable()], [Outcome(Disposition.RETRY)])
    assert _lost("unreadable-groups") == {"log:AttributeError": 1}


def test_a_line_about_nothing_can_be_lost_too() -> None:
    before = metrics.ERRORS.values().get(("", "log:KeyError"), 0)
    count_lost(None, KeyError())
    count_lost([], KeyError())
    assert metrics.ERRORS.values()["", "log:KeyError"] == before + 2


def test_an_observer_that_raises_costs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    events.observe(_message(), _raise)
    (line,) = caplog.records
    assert line.getMessage().startswith(
        "message m1 of q shown to an observer that raised RuntimeError (at "
    )
    assert "in _raise)" in line.getMessage()
    assert SECRET not in str(vars(line))


# --- other threads -------------------------------------------------------------------------------


def _on_a_thread(lines: HeldLines, work: Callable[[], object]) -> None:
    thread = Thread(target=lines.run, args=(work,))
    thread.start()
    thread.join()


def test_lines_of_another_thread_are_written_by_who_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = HeldLines()
    _on_a_thread(lines, lambda: events.warning("q", "x", "from there"))
    assert caplog.messages == []
    events.warning("q", "x", "from here")
    lines.write()
    lines.write()
    assert caplog.messages == ["from here", "from there"]
    here, there = caplog.records
    assert there.created <= here.created


def test_lines_may_pass_through_two_threads(caplog: pytest.LogCaptureFixture) -> None:
    outer, inner = HeldLines(), HeldLines()
    _on_a_thread(inner, lambda: events.warning("q", "x", "from the inner one"))
    _on_a_thread(outer, inner.write)
    assert caplog.messages == []
    outer.write()
    assert caplog.messages == ["from the inner one"]
