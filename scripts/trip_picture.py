"""Draws the trip of one acknowledged message through each host: docs/architecture/trip-*.svg.

trip_picture [--check]; nothing is drawn by hand: `trip_calls` records the calls.
"""

from __future__ import annotations

import sys
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from scripts import generated
from scripts.trip_calls import TRIPS, Call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER: Final = generated.DOCS / "architecture"
_BOX, _HEIGHT, _GAP, _TOP = 270, 38, 16, 66
# Beside the boxes where no arrow is, and around the widest one.
_SIDE, _EDGE = 30, 24
_STYLE = """
:root{--page:#fff;--box:#eef1f8;--edge:#5c6bc0;--back:#c2611f;--text:#24292e;--dim:#5a626d}
@media (prefers-color-scheme:dark){
:root{--page:#1b1e26;--box:#272c3b;--edge:#8f9bea;--back:#e6975a;--text:#d5d7dc;--dim:#9aa2ae}}
.page{fill:var(--page)}.box{fill:var(--box);stroke:var(--edge)}.dim{fill:var(--dim)}
.on{fill:none;stroke:var(--edge);stroke-width:1.4}.back{fill:none;stroke:var(--back);stroke-width:1.4}
.over{stroke-dasharray:5 4}.tip-on{fill:var(--edge)}.tip-back{fill:var(--back)}
text{fill:var(--text);font:13px Inter,Helvetica,Arial,"Liberation Sans",sans-serif}
.name{font-size:17px;font-weight:600}.count{font-size:12px;text-anchor:middle;
paint-order:stroke;stroke:var(--page);stroke-width:4px}
"""


class Arrow(NamedTuple):
    """Calls from one module to another, or one module's hand-over to an event loop or thread."""

    start: str
    end: str
    handed_over: bool


def modules_of(calls: list[Call]) -> list[str]:
    """Give the modules in the order in which the message reaches them, with those that call."""
    named = [name for call in calls for name in (call.caller, call.module) if name]
    return list(dict.fromkeys(named))


def arrows_of(calls: list[Call]) -> dict[Arrow, int]:
    """Count the calls between each two modules; a call without a caller was handed over."""
    counts: dict[Arrow, int] = {}
    before: str | None = None
    for call in calls:
        start = call.caller or before
        if start not in {None, call.module}:
            arrow = Arrow(str(start), call.module, call.caller is None)
            counts[arrow] = counts.get(arrow, 0) + 1
        before = call.module
    return counts


def svg(title: str, calls: list[Call]) -> str:
    """Draw a trip: modules from top to bottom, calls downwards on the right, others on the left."""
    modules, arrows = modules_of(calls), arrows_of(calls)
    left, right = _margins(modules, arrows)
    width = left + _BOX + right
    height = _TOP + len(modules) * (_HEIGHT + _GAP) + 8
    said = f"{len(calls)} calls in {len(modules)} modules that take or give the message"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}: {said}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
        f'<text class="name" x="20" y="28">{escape(title)}</text>',
        f'<text class="dim" x="20" y="48">{said}</text>',
        *(_box(left, at, module, calls) for at, module in enumerate(modules)),
        *_drawn(left, modules, arrows),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _top_of(at: int) -> int:
    return _TOP + at * (_HEIGHT + _GAP)


def _margins(modules: list[str], arrows: dict[Arrow, int]) -> tuple[int, int]:
    spans = [modules.index(each.end) - modules.index(each.start) for each in arrows]
    left = max((_reach(-span) for span in spans if span < 0), default=0)
    right = max((_reach(span) for span in spans if span > 0), default=0)
    # The middle of a curve is at three quarters of its reach.
    return _SIDE + _EDGE * bool(left) + left * 3 // 4, _SIDE + _EDGE * bool(right) + right * 3 // 4


def _reach(span: int) -> int:
    return 26 + 17 * span


def _box(left: int, at: int, module: str, calls: list[Call]) -> str:
    count = sum(call.module == module for call in calls)
    y = _top_of(at)
    return (
        f'<rect class="box" x="{left}" y="{y}" width="{_BOX}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{left + 12}" y="{y + 24}">{escape(module)}</text>'
        f'<text class="dim" x="{left + _BOX - 12}" y="{y + 24}" text-anchor="end">{count}</text>'
    )


def _drawn(left: int, modules: list[str], arrows: dict[Arrow, int]) -> Iterator[str]:
    places = {module: at for at, module in enumerate(modules)}
    for arrow, count in arrows.items():
        start, end = places[arrow.start], places[arrow.end]
        yield _arrow(
            left + _BOX if start < end else left,
            (start, _port(arrow, arrow.start, arrows, places)),
            (end, _port(arrow, arrow.end, arrows, places)),
            count,
            handed_over=arrow.handed_over,
        )


def _port(arrow: Arrow, module: str, arrows: dict[Arrow, int], places: dict[str, int]) -> float:
    """Give the height at which an arrow touches a box, so that no two touch it at the same."""
    onward = places[arrow.start] < places[arrow.end]
    side = [
        each
        for each in arrows
        if module in each[:2] and (places[each.start] < places[each.end]) is onward
    ]
    # Arcs that do not cross: from above the nearest is outermost, to below the furthest is.
    here = places[module]

    def order(each: Arrow) -> tuple[bool, int]:
        other = places[each.end if each.start == module else each.start]
        return other > here, -other

    ports = sorted(side, key=order)
    return _top_of(here) + _HEIGHT * (ports.index(arrow) + 1) / (len(ports) + 1)


def _arrow(
    x: int, start: tuple[int, float], end: tuple[int, float], count: int, *, handed_over: bool
) -> str:
    onward = start[0] < end[0]
    kind, sign = ("on", 1) if onward else ("back", -1)
    reach = x + sign * _reach(abs(end[0] - start[0]))
    tip = x + sign * 8
    dashed = " over" if handed_over else ""
    y1, y2 = start[1], end[1]
    return (
        f'<path class="{kind}{dashed}" d="M{x} {y1:.1f}C{reach} {y1:.1f} {reach} {y2:.1f} '
        f'{tip} {y2:.1f}"/>'
        f'<path class="tip-{kind}" d="M{x} {y2:.1f}l{sign * 9} -4v8z"/>'
        f'<text class="count" x="{(x + 3 * reach) / 4:.0f}" y="{(y1 + y2) / 2 + 4:.1f}">{count}'
        "</text>"
    )


def picture_of(name: str) -> Path:
    """Give the file of a host's picture."""
    return FOLDER / f"trip-{name}.svg"


def drawn(name: str) -> str:
    """Measure a host's trip, and draw it."""
    title, measure = TRIPS[name]
    return svg(title, measure())


def main(arguments: list[str]) -> int:
    """Write all pictures, or with --check only compare."""
    FOLDER.mkdir(exist_ok=True)
    return max(_write(name, arguments) for name in TRIPS)


def _write(name: str, arguments: list[str]) -> int:
    picture = drawn(name)
    return generated.main(picture_of(name), lambda _: picture, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
