"""What the dashboard's panels show: their queries, as Grafana would send them, answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.dashboard_picture.prometheus import Series

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "infra" / "observability" / "dashboard.json"
# Grafana's own rule for $__rate_interval, where nothing else is said.
_SCRAPES_IN_A_RATE = 4


class Line(NamedTuple):
    """One line of a panel, under its name in the legend."""

    name: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """A panel as the dashboard's file has it, and the lines that it shows."""

    source: dict[str, Any]
    lines: Sequence[Line]


def dashboard() -> dict[str, Any]:
    """Read the dashboard's file."""
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def filled_in(query: str, *, scrape_seconds: float, queue: str = ".*") -> str:
    """Put values for the dashboard's variables into a query."""
    rate = f"{_SCRAPES_IN_A_RATE * scrape_seconds * 1000:.0f}ms"
    return query.replace("$__rate_interval", rate).replace("$queue", queue)


def panels(ask: Callable[[str], Sequence[Series]], scrape_seconds: float) -> list[Panel]:
    """Have the queries of all panels answered; rows have none."""
    found = []
    for source in dashboard()["panels"]:
        lines = [
            Line(legend(target["legendFormat"], series), series.points)
            for target in source.get("targets", [])
            for series in ask(filled_in(target["expr"], scrape_seconds=scrape_seconds))
        ]
        found.append(Panel(source, lines))
    return found


def legend(pattern: str, series: Series) -> str:
    """Name a line as its legendFormat says."""
    return re.sub(r"{{(\w+)}}", lambda label: series.labels.get(label[1], ""), pattern)
