"""Writes all metrics in the text format that Prometheus scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.observability.metrics import INSTRUMENTS, Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from queue_runtime.observability.metrics import Gauge

# https://prometheus.io/docs/instrumenting/exposition_formats/
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(instruments: Iterable[Counter | Gauge | Histogram] = INSTRUMENTS) -> str:
    """Give the answer to a scrape; an instrument that was never used has its type and no value."""
    return "".join(line for instrument in instruments for line in _lines(instrument))


def _lines(instrument: Counter | Gauge | Histogram) -> Iterator[str]:
    name = instrument.name
    yield f"# HELP {name} {instrument.help}\n"
    if isinstance(instrument, Histogram):
        yield f"# TYPE {name} histogram\n"
        yield from _histogram(instrument)
        return
    yield f"# TYPE {name} {'counter' if isinstance(instrument, Counter) else 'gauge'}\n"
    for values, number in instrument.values().items():
        yield f"{name}{_labels(instrument.labels, values)} {number:.16g}\n"


def _histogram(instrument: Histogram) -> Iterator[str]:
    name = instrument.name
    bounds = [*(f"{bound:g}" for bound in instrument.bounds), "+Inf"]
    for values, (counts, total) in instrument.values().items():
        below = 0
        for bound, count in zip(bounds, counts, strict=True):
            below += count
            labels = _labels((*instrument.labels, "le"), (*values, bound))
            yield f"{name}_bucket{labels} {below}\n"
        labels = _labels(instrument.labels, values)
        yield f"{name}_sum{labels} {total:.16g}\n{name}_count{labels} {below}\n"


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
