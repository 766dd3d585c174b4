"""Whatever producers and authors write, a log line is one line, bounded, JSON, and never raises."""

from __future__ import annotations

import io
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from queue_runtime.message import Message
from queue_runtime.observability.events import Events
from queue_runtime.observability.exporters.logs import JsonFormatter
from queue_runtime.observability.log_lines import FIELDS
from queue_runtime.observability.span_attributes import Names
from queue_runtime.outcome import ACK, DeadLetter, Discard, Outcome, Retry, classify, unrun
from queue_runtime.printable import MOST, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = settings(max_examples=150, deadline=None)
LONGEST_LINE = 250_000
# More digits than Python writes down, so it must not be in a strategy's own name either.
HUGE = st.builds(lambda: 10**5000)
# Any character, halves of surrogate pairs too, and now and then too many of them.
TEXT = st.builds(
    lambda text, times: text * times,
    st.text(
        st.one_of(st.characters(categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), st.characters()),
        max_size=40,
    ),
    st.sampled_from([1, 1, 1, 200]),
)
MESSAGES = st.builds(
    Message.of,
    st.just(b""),
    id=TEXT,
    queue=TEXT,
    group_id=st.none() | TEXT,
    correlation_id=st.none() | TEXT,
    delivery_count=st.integers() | HUGE,
)


def _failed(text: str) -> Outcome:
    return Outcome(classify(Retry(text)).disposition, reason=text, error=ValueError(text))


OUTCOMES = st.one_of(
    st.just(ACK),
    TEXT.map(lambda text: classify(Retry(text))),
    TEXT.map(lambda text: classify(DeadLetter(text))),
    TEXT.map(lambda text: classify(Discard(text))),
    TEXT.map(unrun),
    TEXT.map(_failed),
)
ODD = st.one_of(TEXT, st.floats(), st.integers(), HUGE, st.binary(), st.none())
EXTRA = st.dictionaries(
    TEXT.map(lambda name: f"x{name}"),
    ODD | st.lists(ODD) | st.dictionaries(ODD, ODD, max_size=3),
    max_size=4,
)


@contextmanager
def _written() -> Iterator[io.StringIO]:
    out, logger = io.StringIO(), logging.getLogger("queue_runtime")
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield out
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
        logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]


def _lines(out: io.StringIO) -> list[dict[str, Any]]:
    text = out.getvalue()
    text.encode()
    lines = text.splitlines()
    assert len(lines) == text.count("\n")
    assert all(len(line) <= LONGEST_LINE for line in lines)
    return [json.loads(line, parse_constant=_no_json) for line in lines]


def _no_json(name: str) -> Any:
    raise AssertionError(name)


@EXAMPLES
@given(st.lists(st.tuples(MESSAGES, OUTCOMES), min_size=1, max_size=4))
def test_what_becomes_of_messages_is_a_line_each(told: list[tuple[Any, Outcome]]) -> None:
    messages, outcomes = [m for m, _ in told], [o for _, o in told]
    with _written() as out:
        Events().settled("orders", messages, outcomes)
    lines = _lines(out)
    assert len(lines) == len(told)
    for line in lines:
        assert set(FIELDS) <= line.keys()
        assert all(len(str(line[name])) <= MOST for name in FIELDS)
        assert line["message"].encode().decode() == line["message"]
        assert not set(line["message"]) & set("\n\r\x1b\x00\u2028")


@EXAMPLES
@given(st.lists(MESSAGES, max_size=12), TEXT, TEXT)
def test_every_other_line_too(messages: list[Any], queue: str, text: str) -> None:
    one = Events()
    with _written() as out:
        one.received(queue, messages)
        one.error(messages, "middleware", "raised %s", ValueError(text), raised=ValueError(text))
        one.say_once(queue, "thing", text)
        one.warning(queue, "receive", "%s %s", text, queue)
        for message in messages:
            one.lock_lost(message, ACK)
            one.still_running(message, text)
    assert len(_lines(out)) == 4 + 2 * len(messages)


@EXAMPLES
@given(TEXT, EXTRA)
def test_a_line_of_the_handlers_own_is_json_whatever_it_holds(text: str, extra: Any) -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, text, None, None)
    vars(record).update(extra)
    line = JsonFormatter().format(record)
    line.encode()
    assert len(line.splitlines()) == 1
    assert len(line) <= LONGEST_LINE
    assert json.loads(line, parse_constant=_no_json)["level"] == "INFO"


@EXAMPLES
@given(MESSAGES)
def test_a_spans_attributes_can_be_sent(message: Message[bytes]) -> None:
    for value in Names("servicebus", "both").with_message({}, message).values():
        if isinstance(value, int):
            assert abs(value) < 2**63
        else:
            assert len(value.encode()) <= 4 * MOST


@EXAMPLES
@given(TEXT, st.integers(40, 2_000))
def test_a_shown_text_is_bounded_and_harmless(text: str, most: int) -> None:
    shown = printable(text, most)
    shown.encode()
    assert len(shown) <= most
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 0x20 for character in shown)
