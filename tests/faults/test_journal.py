"""What the crash tests look for in a journal would be found."""

from __future__ import annotations

from tests.faults.journal import Line, out_of_order

SENT = ["1:001", "2:002", "1:003"]


def test_a_run_before_an_earlier_one_of_its_group_is_done_is_out_of_order() -> None:
    early, late = Line("done", "1:001", "7"), Line("run", "1:003", "7")
    assert out_of_order([late, early], SENT) == ["1:003"]
    assert out_of_order([early, late], SENT) == []


def test_groups_do_not_wait_for_each_other() -> None:
    assert out_of_order([Line("run", "2:002", "7")], SENT) == []
