"""The consumer that a crash test kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.matrix import Rig


@pytest.fixture
def consumer(rig: Rig, tmp_path: Path) -> Iterator[Consumer]:
    consumer = Consumer(rig.url, rig.environment, tmp_path)
    yield consumer
    consumer.close()
