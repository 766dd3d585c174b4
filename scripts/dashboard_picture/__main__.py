"""Draws docs/observability/dashboard.svg from a few minutes of real pollers and Prometheus.

python -m scripts.dashboard_picture
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.dashboard_picture.day import EVENTS, SECONDS, Shop, spend
from scripts.dashboard_picture.panels import ROOT, dashboard, panels
from scripts.dashboard_picture.prometheus import Prometheus, wait_until
from scripts.dashboard_picture.svg import Span, draw

PICTURE = ROOT / "docs" / "observability" / "dashboard.svg"
SCRAPE_SECONDS = 2.0
_START_SECONDS = 30.0


def main() -> int:
    """Measure and draw."""
    if shutil.which("prometheus") is None:
        print("prometheus is not installed: run 'make system-packages'")
        return 1
    with TemporaryDirectory() as folder:
        picture = measured(Path(folder))
    PICTURE.write_text(picture)
    print(f"{PICTURE.relative_to(ROOT)}: {len(picture) / 1000:.0f} kB")
    return 0


def measured(folder: Path) -> str:
    """Give the picture of a bad day of the shop."""
    shop = Shop(folder)
    targets = [f"127.0.0.1:{port}" for port in shop.ports]
    with shop.open(), Prometheus(folder, targets, every=SCRAPE_SECONDS) as prometheus:
        wait_until(
            "the pollers are scraped", lambda: len(prometheus.at("up == 1")) == 2, _START_SECONDS
        )
        start = time.time()
        asyncio.run(spend(shop))
        span = Span(start, start + SECONDS, SCRAPE_SECONDS, [event.start for event in EVENTS])
        ask = partial(prometheus.over, start=span.start, end=span.end, step=span.step)
        return draw(
            dashboard()["title"],
            f"Queue: All   Last {SECONDS / 60:g} minutes   Scraped every {SCRAPE_SECONDS:g} s",
            panels(ask, SCRAPE_SECONDS),
            span,
        )


if __name__ == "__main__":
    sys.exit(main())
