"""What one port says of several processes, from what each has reported."""

from __future__ import annotations

import asyncio
from typing import Any

from queue_runtime.hosts.poller.combined import Combined, Sums
from queue_runtime.observability import metrics

DEPTH = metrics.DEPTH.name
ONE = f"""# HELP queue_x_total Of something
# TYPE queue_x_total counter
queue_x_total{{queue="q"}} 3
# HELP {DEPTH} Depth
# TYPE {DEPTH} gauge
{DEPTH}{{queue="q",state="visible"}} 7
# HELP process_open_fds Open file descriptors.
# TYPE process_open_fds gauge
process_open_fds 12
"""


def report(**changed: Any) -> dict[str, Any]:
    numbers = {"completed": 3, "held": 1}
    told = {"queue": "q", "state": "ready", "visible": None, "here": numbers}
    return {"stuck": "", "ready": {}, "stats": [told], "metrics": ONE, **changed}


def test_counters_are_added_up_and_what_all_tell_alike_is_not() -> None:
    sums = Sums()
    sums.add(ONE)
    sums.add(ONE)
    lines = sums.text().splitlines()
    assert 'queue_x_total{queue="q"} 6' in lines
    assert f'{DEPTH}{{queue="q",state="visible"}} 7' in lines
    assert len([line for line in lines if line.startswith("# TYPE queue_x_total")]) == 1
    assert "process_open_fds" not in sums.text()


def test_counters_of_a_process_that_ended_stay_and_its_gauges_go() -> None:
    combined = Combined(2)
    for child in range(2):
        combined.started(child)
        combined.reported(child, report())
    combined.ended(0)
    text = asyncio.run(combined.metrics())
    assert 'queue_x_total{queue="q"} 6' in text
    assert 'process_open_fds{process="1"}' not in text
    assert 'process_open_fds{process="2"} 12' in text
    assert 'queue_runtime_process_up{process="1"} 0' in text
    labels = 'process="2",queue="q",what="completed"'
    assert f"queue_runtime_process_messages_total{{{labels}}} 3" in text


def test_one_process_that_can_take_messages_makes_all_ready() -> None:
    combined = Combined(2)
    assert asyncio.run(combined.ready()) == {"process 1": " starting", "process 2": " starting"}
    combined.reported(0, report(ready={"q": "its handlers hang"}))
    assert asyncio.run(combined.ready())["process 1"] == "q its handlers hang"
    combined.reported(1, report())
    assert asyncio.run(combined.ready()) == {}


def test_only_all_processes_stuck_or_one_that_cannot_be_replaced_is_not_alive() -> None:
    combined = Combined(2)
    combined.reported(0, report(stuck="the event loop has not turned"))
    combined.reported(1, report())
    assert asyncio.run(combined.live()) == {}
    combined.reported(1, report(stuck="so has not this one"))
    assert set(asyncio.run(combined.live())) == {"process 1", "process 2"}
    combined.reported(1, report())
    combined.replaced(1, "it has said nothing for 30 s")
    assert asyncio.run(combined.live())["process 2"] == "it has said nothing for 30 s"
    combined.started(1)
    assert asyncio.run(combined.live()) == {}
    combined.lost(0, "it cannot be killed")
    assert asyncio.run(combined.live()) == {"process 1": "it cannot be killed"}
    combined.started(0)
    assert asyncio.run(combined.live()) == {}


def test_the_depth_is_that_of_the_process_that_asks() -> None:
    known = dict.fromkeys(("in_flight", "delayed", "dead_lettered", "oldest_seconds"), 0)
    depth = {**known, "visible": 7, "backlog": 7, "total": 7}
    combined = Combined(2)
    combined.reported(0, report(stats=[{**report()["stats"][0], **depth}]))
    combined.reported(1, report())
    combined.ended(0)
    (told,) = asyncio.run(combined.stats())
    assert (told["visible"], told["here"]["completed"]) == (7, 3)
