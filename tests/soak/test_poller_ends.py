"""Two hundred ends of real processes on each queue, at random moments under load."""

from __future__ import annotations

import random
import signal
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.sqs import Latency, SqsBroker
from tests.faults.consumer import Consumer
from tests.faults.local_rig import LocalRig
from tests.faults.test_service_bus_crash import ServiceBusRig
from tests.faults.test_sqs_crash import SqsRig
from tests.sqs_rig import aws_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.soak

KINDS = {
    "async, quick": ("on_loop", "handler"),
    "sync, quick": ("on_thread", "handler"),
    "async, 0.2 s": ("slow_on_loop", "odd_handlers"),
    "sync, 0.2 s": ("slow_on_thread", "odd_handlers"),
    "async, blocks the loop for 0.2 s": ("blocks_for_a_while", "odd_handlers"),
    "async, always fails": ("fails", "odd_handlers"),
}
ENDS = 34  # of each kind: 204 on each queue
LOCK_SECONDS = 300
MANY, LONGEST_PAUSE = 300, 0.5


@pytest.fixture(params=["SQS", "Service Bus", "local"])
def rig(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    if request.param == "SQS":
        with SqsBroker() as broker:
            aws_environment(monkeypatch, broker.endpoint_url)
            broker.faults.add(Latency(0.02))
            yield SqsRig(broker, "orders", lock_seconds=LOCK_SECONDS)
    elif request.param == "Service Bus":
        with ServiceBusBroker() as broker:
            yield ServiceBusRig(broker, sessions=False, lock_seconds=LOCK_SECONDS)
    else:
        yield LocalRig(tmp_path / "queues")


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("kind", KINDS)
def test_no_end_leaves_a_message_locked(
    kind: str, rig: Any, tmp_path: Path, record_property: Any, request: pytest.FixtureRequest
) -> None:
    handler, module = KINDS[kind]
    took = []
    for end in range(ENDS):
        folder = tmp_path / str(end)
        folder.mkdir()
        # What always fails is dead-lettered by Service Bus's own limit, and is left there.
        missing = MANY if handler == "fails" else MANY - rig.left()
        rig.send([f"m{end}-{number}" for number in range(missing)])
        consumer = Consumer(rig.url, rig.environment, folder)
        try:
            consumer.start(handler, "--drain-seconds", "1", module=module)
            consumer.wait_for(consumer.has_begun)
            time.sleep(random.random() * LONGEST_PAUSE)  # to hit any moment, not to wait
            began = time.monotonic()
            assert consumer.end(signal.SIGTERM) == 0
            took.append(time.monotonic() - began)
        finally:
            consumer.close()
        assert rig.locked() == 0
    record_property("ends", f"{kind}: median {median(took):.2f} s, longest {max(took):.2f} s")
    queue = request.node.callspec.params["rig"]
    sys.stdout.write(f"ENDS | {queue} | {kind} | {median(took):.2f} s | {max(took):.2f} s |\n")
