"""The broker as a process of its own, as benchmarks start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers.sqs.fixtures import sqs_client_for

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_until_a_signal(stop: signal.Signals) -> None:
    command = [
        sys.executable, "-m", "tests.brokers.sqs", "--queue", "orders", "--queue", "line.fifo",
        "--fill", "3", "--body-size", "7", "--latency-ms", "1", "--partial-rate", "1",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        client = sqs_client_for(started["endpoint_url"])
        for name in ("orders", "line.fifo"):
            url = started["queues"][name]
            received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
            assert [message["Body"] for message in received] == ["x" * 7] * 3
        reply = client.delete_message_batch(
            QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": received[0]["ReceiptHandle"]}]
        )
        assert [entry["Id"] for entry in reply["Failed"]] == ["a"]
        client.close()
        process.send_signal(stop)
        assert process.wait(5) == 0
