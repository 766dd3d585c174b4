"""Draws the dashboard as one SVG, as Grafana lays it out, in the colours of the reader's scheme."""

from __future__ import annotations

from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.dashboard_picture.axis import shown, ticks_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scripts.dashboard_picture.panels import Line, Panel

# Of a cell of Grafana's grid, which has 24 columns; and of what is drawn around and in panels.
_WIDTH, _HEIGHT, _GAP = 46, 32, 8
_TOP = 56
_TITLE, _AXIS, _LEGEND, _RIGHT = 46, 24, 18, 22
# Of a letter of the legend, which is drawn in 13.
_LETTER = 6.9
_STYLE = """
:root{--page:#f4f5f5;--panel:#fff;--edge:#dcdee2;--grid:#e9eaed;--text:#24292e;--dim:#5a626d}
@media (prefers-color-scheme:dark){
:root{--page:#111217;--panel:#181b1f;--edge:#2c3038;--grid:#282c33;--text:#d5d7dc;--dim:#9aa2ae}}
.page{fill:var(--page)}.panel{fill:var(--panel);stroke:var(--edge)}
.grid{stroke:var(--grid)}.event{stroke:var(--dim);stroke-dasharray:2 4;opacity:.7}
text{white-space:pre;fill:var(--text);font:13px Inter,Helvetica,Arial,"Liberation Sans",sans-serif}
.title{font-size:15px;font-weight:600}.name{font-size:20px;font-weight:600}.dim{fill:var(--dim)}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.area{opacity:.1}
.limit{stroke-width:1.4;stroke-dasharray:7 4}
"""
# Each is seen on white and on near black.
_COLOURS = ("#3d85e0", "#d9740b", "#2e9d57", "#9a63d6", "#1398a6", "#d0539f", "#8a8f1a", "#a8793b",
            "#7d8794", "#c65b4e")  # fmt: skip
_LIMITS = {"red": "#e0394f", "orange": "#ee8a12"}


class Span(NamedTuple):
    """The time that is drawn, and what happened at which seconds of it."""

    start: float
    end: float
    step: float
    events: Sequence[float]


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


class _Plot(NamedTuple):
    """Where a panel's lines are, and up to which value."""

    box: _Box
    span: Span
    top: float

    def x(self, at: float) -> float:
        share = (at - self.span.start) / (self.span.end - self.span.start)
        return self.box.x + share * self.box.width

    def y(self, value: float) -> float:
        return self.box.y + self.box.height * (1 - min(value, self.top) / self.top)


def draw(title: str, facts: str, panels: Sequence[Panel], span: Span) -> str:
    """Give the picture of all panels."""
    boxes = [_box(panel.source["gridPos"]) for panel in panels]
    width = 24 * _WIDTH + 2 * _GAP
    height = max(box.y + box.height for box in boxes) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        _text(2 * _GAP, 36, title, "name"),
        _text(width - 2 * _GAP, 36, facts, "dim", "end"),
    ]
    for panel, box in zip(panels, boxes, strict=True):
        parts += _row(panel, box) if panel.source["type"] == "row" else _panel(panel, box, span)
    return "\n".join([*parts, "</svg>", ""])


def _box(grid: dict[str, int]) -> _Box:
    return _Box(
        _GAP + grid["x"] * _WIDTH + _GAP / 2,
        _TOP + grid["y"] * _HEIGHT + _GAP / 2,
        grid["w"] * _WIDTH - _GAP,
        grid["h"] * _HEIGHT - _GAP,
    )


def _row(panel: Panel, box: _Box) -> Iterator[str]:
    yield _text(box.x + 4, box.y + 18, f"▾ {panel.source['title']}", "title")


def _panel(panel: Panel, box: _Box, span: Span) -> Iterator[str]:
    yield (
        f'<rect class="panel" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="3"/>'
    )
    yield _text(box.x + 10, box.y + 21, panel.source["title"], "title")
    if not panel.lines:
        middle = box.x + box.width / 2, box.y + box.height / 2
        yield _text(*middle, "No data", "dim", "middle")
        return
    rows = _legend_rows(panel.lines, box.width - 20)
    below = _AXIS + _LEGEND * len(rows) + 6
    yield from _plot(panel, box._replace(height=box.height - below), span)
    yield from _legend(rows, box)


def _plot(panel: Panel, box: _Box, span: Span) -> Iterator[str]:
    defaults = panel.source["fieldConfig"]["defaults"]
    ticks = {tick: shown(tick, defaults) for tick in ticks_for(panel)}
    left = 18 + _LETTER * max(map(len, ticks.values()))
    inside = _Box(box.x + left, box.y + _TITLE, box.width - left - _RIGHT, box.height - _TITLE)
    plot = _Plot(inside, span, max(ticks))
    yield from _values(ticks, plot)
    yield from _times(plot)
    for number, line in enumerate(panel.lines):
        yield from _line(line, plot, _COLOURS[number % len(_COLOURS)])
    yield from _limits(defaults, plot)


def _values(ticks: Mapping[float, str], plot: _Plot) -> Iterator[str]:
    for tick, label in ticks.items():
        y = plot.y(tick)
        yield _stroke("grid", plot.box.x, y, plot.box.x + plot.box.width, y)
        yield _text(plot.box.x - 7, y + 4, label, "dim", "end")


def _times(plot: _Plot) -> Iterator[str]:
    bottom = plot.box.y + plot.box.height
    start, end, _, events = plot.span
    for seconds in range(0, int(end - start) + 1, 30):
        text = f"{seconds // 60}:{seconds % 60:02}"
        yield _text(plot.x(start + seconds), bottom + 17, text, "dim", "middle")
    for number, after in enumerate(events, 1):
        x = plot.x(start + after)
        yield _stroke("event", x, plot.box.y, x, bottom)
        yield _text(x, plot.box.y - 4, str(number), "dim", "middle")


def _line(line: Line, plot: _Plot, colour: str) -> Iterator[str]:
    bottom = plot.y(0)
    for stretch in _stretches(line.points, plot.span.step):
        dots = [f"{plot.x(at):.1f},{plot.y(value):.1f}" for at, value in stretch]
        if len(dots) == 1:
            x, y = dots[0].split(",")
            yield f'<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>'
            continue
        first, last = plot.x(stretch[0][0]), plot.x(stretch[-1][0])
        path = "L".join(dots)
        yield (
            f'<path class="area" fill="{colour}" '
            f'd="M{first:.1f},{bottom:.1f}L{path}L{last:.1f},{bottom:.1f}Z"/>'
        )
        yield f'<path class="line" stroke="{colour}" d="M{path}"/>'


def _stretches(
    points: Sequence[tuple[float, float]], step: float
) -> Iterator[list[tuple[float, float]]]:
    """Cut a line where it has no value, or where its series was not there."""
    stretch: list[tuple[float, float]] = []
    for at, value in points:
        if not isfinite(value):
            continue
        if stretch and at - stretch[-1][0] > 1.5 * step:
            yield stretch
            stretch = []
        stretch.append((at, value))
    if stretch:
        yield stretch


def _limits(defaults: dict[str, Any], plot: _Plot) -> Iterator[str]:
    for step in defaults.get("thresholds", {}).get("steps", [])[1:]:
        y = plot.y(step["value"])
        line = _stroke("limit", plot.box.x, y, plot.box.x + plot.box.width, y)
        yield line.replace("/>", f' stroke="{_LIMITS[step["color"]]}"/>')


def _legend_rows(lines: Sequence[Line], width: float) -> list[list[tuple[float, str, str]]]:
    """Lay entries out from left to right, each with where it begins, its name and its colour."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    at = 0.0
    for number, line in enumerate(lines):
        needed = 32 + len(line.name) * _LETTER
        if rows[-1] and at + needed > width:
            rows.append([])
            at = 0.0
        rows[-1].append((at, line.name, _COLOURS[number % len(_COLOURS)]))
        at += needed
    return rows


def _legend(rows: Sequence[Sequence[tuple[float, str, str]]], box: _Box) -> Iterator[str]:
    y = box.y + box.height - _LEGEND * len(rows) + 8
    for row in rows:
        for at, name, colour in row:
            x = box.x + 12 + at
            yield f'<path class="line" stroke="{colour}" stroke-width="3" d="M{x:g},{y - 4:g}h14"/>'
            yield _text(x + 19, y, name)
        y += _LEGEND


def _stroke(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{kind}" d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    classes = f' class="{kind}"' if kind else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{classes}{where}>{escape(text)}</text>'
