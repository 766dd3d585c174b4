from concurrent.futures import ThreadPoolExecutor

import pytest

from queue_runtime.observability import metrics
from queue_runtime.observability.metrics import (
    INSTRUMENTS,
    MOST_LABEL_SETS,
    MOST_RECENT,
    Counter,
    Gauge,
    Histogram,
)


def test_a_counter_keeps_a_number_for_each_set_of_labels() -> None:
    counter = Counter("errors_total", ("queue", "error_type"), "help")
    counter.add(1, "a", "x")
    counter.add(2, "a", "x")
    counter.add(5, "b", "x")
    assert counter.values() == {("a", "x"): 3, ("b", "x"): 5}


def test_values_are_a_copy() -> None:
    counter = Counter("c", (), "")
    before = counter.values()
    counter.add(1)
    assert (before, counter.values()) == ({}, {(): 1})


@pytest.mark.parametrize(
    ("seconds", "place"), [(0, 0), (0.005, 0), (0.006, 1), (10.0, 13), (10.1, 14), (1e9, 14)]
)
def test_a_duration_is_counted_at_or_below_its_bound(seconds: float, place: int) -> None:
    histogram = Histogram("d", ("queue",), "")
    histogram.record(seconds, "q")
    counts, total = histogram.values()[("q",)]
    assert [at for at, count in enumerate(counts) if count] == [place]
    assert total == seconds
    assert len(counts) == len(histogram.bounds) + 1


def test_producers_cannot_grow_our_memory() -> None:
    counter = Counter("c", ("queue", "error_type"), "")
    for number in range(MOST_LABEL_SETS + 50):
        counter.add(1, "q", str(number))
    counter.add(1, "q", "0")
    values = counter.values()
    assert len(values) == MOST_LABEL_SETS + 1
    assert values[("other", "other")] == 50
    assert values[("q", "0")] == 2


def test_threads_lose_no_count() -> None:
    counter, histogram = Counter("c", (), ""), Histogram("h", (), "")

    def bump(_: int) -> None:
        for _ in range(500):
            counter.add(1)
            histogram.record(1.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bump, range(8)))
    assert counter.values() == {(): 4000}
    assert sum(histogram.values()[()][0]) == 4000


def test_a_gauge_is_what_was_said_last_and_bounded_too() -> None:
    gauge = Gauge("g", ("queue",), "")
    gauge.set(3, "a")
    gauge.set(1, "a")
    assert gauge.values() == {("a",): 1}
    for number in range(MOST_LABEL_SETS + 5):
        gauge.set(number, f"q{number}")
    assert len(gauge.values()) == MOST_LABEL_SETS + 1
    assert gauge.values()[("other",)] == MOST_LABEL_SETS + 4


def test_single_durations_are_kept_only_when_asked_for_and_not_without_end() -> None:
    histogram = Histogram("h", ("queue",), "")
    histogram.record(1.0, "a")
    assert histogram.take_recent() == {}
    histogram.record_all([2.0, 3.0], "a")
    assert histogram.take_recent() == {("a",): [2.0, 3.0]}
    histogram.record_all([1.0] * 150, "a")
    assert len(histogram.take_recent()[("a",)]) == MOST_RECENT
    assert sum(histogram.values()[("a",)][0]) == 153


def test_names_are_the_contract_with_operators() -> None:
    contract = {
        "queue_messages_sent_total": ("queue", "status"),
        "queue_messages_received_total": ("queue",),
        "queue_messages_completed_total": ("queue",),
        "queue_messages_abandoned_total": ("queue",),
        "queue_messages_dead_lettered_total": ("queue",),
        "queue_send_duration_seconds": ("queue",),
        "queue_receive_duration_seconds": ("queue",),
        "queue_complete_duration_seconds": ("queue",),
        "queue_errors_total": ("queue", "error_type"),
        "queue_retry_attempts_total": ("queue",),
        "queue_sessions_accepted_total": ("queue",),
        "queue_sessions_completed_total": ("queue",),
        "queue_sessions_abandoned_total": ("queue",),
        "queue_session_duration_seconds": ("queue",),
    }
    labels = {instrument.name: instrument.labels for instrument in INSTRUMENTS}
    assert {name: labels[name] for name in contract} == contract
    assert len(labels) == len(INSTRUMENTS)


def test_every_instrument_is_listed_for_the_exporters() -> None:
    made = [
        value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)
    ]
    assert set(map(id, made)) == set(map(id, INSTRUMENTS))
    assert all(instrument.help for instrument in INSTRUMENTS)
