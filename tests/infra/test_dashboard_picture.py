"""The dashboard's picture: what is drawn of which answers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from math import nan
from typing import TYPE_CHECKING, Any

import pytest

from scripts.dashboard_picture.__main__ import measured
from scripts.dashboard_picture.axis import shown, ticks_for
from scripts.dashboard_picture.day import EVENTS
from scripts.dashboard_picture.panels import ROOT, Line, Panel, dashboard, filled_in, legend, panels
from scripts.dashboard_picture.prometheus import Series
from scripts.dashboard_picture.svg import Span, draw
from tests.programs import program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPAN = Span(0.0, 60.0, 2.0, [15.0])


def panel(*lines: Line, **defaults: Any) -> Panel:
    source = {
        "type": "timeseries",
        "title": "Age <of> it",
        "gridPos": {"x": 0, "y": 0, "w": 8, "h": 8},
        "fieldConfig": {"defaults": {"unit": "s", "custom": {}, **defaults}},
    }
    return Panel(source, lines)


def drawn(*lines: Line, **defaults: Any) -> list[ET.Element]:
    picture = draw("All", "", [panel(*lines, **defaults)], SPAN)
    return list(ET.fromstring(picture).iter())


def texts(elements: Sequence[ET.Element]) -> list[str]:
    return [each.text or "" for each in elements if each.tag.endswith("text")]


def of_class(elements: Sequence[ET.Element], kind: str) -> list[str]:
    return [each.get("d", "") for each in elements if each.get("class") == kind]


def test_variables_are_filled_in_as_grafana_does() -> None:
    query = 'rate(a{queue=~"$queue"}[$__rate_interval])'
    assert filled_in(query, scrape_seconds=2.0) == 'rate(a{queue=~".*"}[8000ms])'


def test_a_line_is_named_by_the_labels_of_its_series() -> None:
    series = Series({"queue": "orders", "state": "visible"}, [])
    assert legend("{{queue}} {{state}}{{other}}", series) == "orders visible"


def test_every_panel_has_the_answers_to_its_queries() -> None:
    found = panels(lambda query: [Series({"queue": query}, [(0.0, 1.0)])], 2.0)
    assert len(found) == len(dashboard()["panels"])
    for each in found:
        assert len(each.lines) == len(each.source.get("targets", []))
        assert "$" not in "".join(line.name for line in each.lines)


def test_a_line_ends_where_it_has_no_value_and_begins_again() -> None:
    missing = Line("a", [(0, 1), (2, 1), (4, 1), (10, 1), (12, 1)])
    undefined = Line("b", [(0, 1), (2, 1), (4, nan), (6, 1), (8, 1)])
    # Beside their strokes in the legend.
    assert len(of_class(drawn(missing, undefined), "line")) == 2 * 2 + 2


def test_a_value_on_its_own_is_a_dot() -> None:
    elements = drawn(Line("a", [(0, 1)]))
    assert len([each for each in elements if each.tag.endswith("circle")]) == 1


def test_a_panel_without_lines_says_so() -> None:
    assert texts(drawn()) == ["All", "", "Age <of> it", "No data"]


def test_a_limit_is_a_line_at_its_height() -> None:
    thresholds = {"steps": [{"value": None}, {"value": 5, "color": "red"}]}
    elements = drawn(Line("a", [(0, 10), (2, 10)]), thresholds=thresholds)
    (limit,) = of_class(elements, "limit")
    grid = of_class(elements, "grid")
    heights = [float(each.split(",")[1].split("L")[0]) for each in (limit, grid[0], grid[-1])]
    assert heights[0] == pytest.approx((heights[1] + heights[2]) / 2)


def test_a_long_legend_is_wrapped() -> None:
    few = drawn(Line("a", [(0, 1)]))
    many = drawn(*[Line(f"a line with a long name {n}", [(0, 1)]) for n in range(4)])
    assert len({each.get("y") for each in many}) > len({each.get("y") for each in few})


@pytest.mark.parametrize(
    ("highest", "defaults", "expected"),
    [
        (0.9, {}, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (42, {}, [0, 10, 20, 30, 40, 50]),
        (2, {"decimals": 0}, [0, 1, 2]),
        (0, {"decimals": 0}, [0, 1]),
        (0.01, {"custom": {"axisSoftMax": 0.1}}, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (7, {"max": 2, "decimals": 0}, [0, 1, 2]),
    ],
)
def test_an_axis_has_round_values(
    highest: float, defaults: dict[str, Any], expected: list[float]
) -> None:
    assert ticks_for(panel(Line("a", [(0, highest)]), **defaults)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "defaults", "expected"),
    [
        (0.05, {"unit": "percentunit"}, "5%"),
        (0.25, {"unit": "s"}, "250 ms"),
        (0, {"unit": "s"}, "0 s"),
        (40, {"unit": "s"}, "40 s"),
        (600, {"unit": "s"}, "10 min"),
        (60, {"unit": "mps"}, "60 msg/s"),
        (1200, {"unit": "locale"}, "1,200"),
        (2, {"unit": "none", "mappings": [{"options": {"2": {"text": "open"}}}]}, "open"),
    ],
)
def test_a_value_is_in_the_unit_of_its_panel(
    value: float, defaults: dict[str, Any], expected: str
) -> None:
    assert shown(value, defaults) == expected


def test_the_page_says_when_what_happened() -> None:
    page = (ROOT / "docs" / "observability" / "dashboard.md").read_text()
    rows = re.findall(r"^\| (\d) \| (\d):(\d\d) \| (.+) for (\d+) s \|", page, re.MULTILINE)
    told = [(60 * int(minute) + int(second), int(took)) for _, minute, second, _, took in rows]
    assert told == [(event.start, event.end - event.start) for event in EVENTS]
    assert [row[3] for row in rows] == [event.what for event in EVENTS]


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_a_bad_day_of_the_shop_leaves_no_panel_empty(tmp_path: Path) -> None:
    program("prometheus")
    assert "No data" not in measured(tmp_path)
