"""The values beside a panel's lines: up to where, and in which unit."""

from __future__ import annotations

from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.dashboard_picture.panels import Panel

_MOST_STEPS = 5
_SUFFIX = {"mps": " msg/s", "eps": " evt/s", "cps": " c/s"}


def ticks_for(panel: Panel) -> list[float]:
    """Give at most six round numbers, from 0 until at least a panel's highest value."""
    highest = _highest(panel)
    power = 10 ** floor(log10(highest / _MOST_STEPS))
    step = next(
        power * each for each in (1, 2, 2.5, 5, 10) if highest <= power * each * _MOST_STEPS
    )
    if panel.source["fieldConfig"]["defaults"].get("decimals") == 0:
        step = ceil(step)
    return [step * number for number in range(ceil(highest / step) + 1)]


def _highest(panel: Panel) -> float:
    """Say up to where the axis goes, as Grafana does with max and axisSoftMax."""
    defaults = panel.source["fieldConfig"]["defaults"]
    if "max" in defaults:
        return float(defaults["max"])
    values = [value for line in panel.lines for _, value in line.points if isfinite(value)]
    return max([*values, defaults["custom"].get("axisSoftMax", 0)]) or 1.0


def shown(value: float, defaults: dict[str, Any]) -> str:
    """Write a value in the unit of its panel."""
    for mapping in defaults.get("mappings", []):
        if f"{value:g}" in mapping["options"]:
            text: str = mapping["options"][f"{value:g}"]["text"]
            return text
    unit = defaults["unit"]
    if unit == "percentunit":
        return f"{value * 100:g}%"
    if unit == "s":
        return _seconds(value)
    return f"{value:,g}{_SUFFIX.get(unit, '')}"


def _seconds(value: float) -> str:
    if not value:
        return "0 s"
    if value < 1:
        return f"{value * 1000:g} ms"
    return f"{value:g} s" if value < 120 else f"{value / 60:g} min"
