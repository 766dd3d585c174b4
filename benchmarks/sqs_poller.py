"""The hand-written loop of a poller on SQS against ours, on the stand-in at 5 ms.

    python -m benchmarks.sqs_poller [MESSAGES]

Broker and consumers are processes of their own, the broker answers after 5 ms, and the two
consumers take turns, each on a queue of its own that is full when it starts. CPU is user and system
time of the consumer, from when its clients are made until everything is deleted.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from resource import RUSAGE_SELF, getrusage
from statistics import median
from threading import Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.paired import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS: Final = 5
MESSAGES: Final = 20_000
LATENCY_MS: Final = 5
THREADS: Final = 16
LEAST_SPEED, MOST_CPU, MOST_REQUESTS = 0.9, 1.0, 0.21
_ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Cost:
    """What a stretch of work took; `stop` ends it."""

    def __init__(self) -> None:
        self._started, self._cpu = perf_counter(), self._cpu_now()

    def stop(self, count: int, requests: int) -> dict[str, float]:
        """Sum up, per message."""
        cpu = (self._cpu_now() - self._cpu) / count * 1e6
        rate = count / (perf_counter() - self._started)
        return {"rate": rate, "cpu": cpu, "requests": requests / count}

    @staticmethod
    def _cpu_now() -> float:
        usage = getrusage(RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime


def by_hand(count: int) -> dict[str, float]:
    """Consume as a careful person writes it."""
    import boto3
    from botocore.config import Config

    client = boto3.client("sqs", config=Config(max_pool_connections=THREADS))
    url = client.get_queue_url(QueueName="orders")["QueueUrl"]
    done, requests, lock = [0], [0], Lock()

    def work() -> None:
        while done[0] < count:
            answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            received = answer.get("Messages", [])
            for message in received:
                message["Body"].encode()
            if received:
                client.delete_message_batch(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]}
                        for at, each in enumerate(received)
                    ],
                )
            with lock:
                done[0] += len(received)
                requests[0] += 2

    cost = Cost()
    threads = [Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return cost.stop(count, requests[0])


def polled(count: int) -> dict[str, float]:
    """Consume with a sync handler and the defaults."""
    from queue_runtime import queue_handler

    @queue_handler(queue="orders")
    def handle(body: bytes) -> None:
        pass

    return asyncio.run(_polled(handle, count))


def polled_async(count: int) -> dict[str, float]:
    """Consume with an async handler and the defaults."""
    from queue_runtime import queue_handler

    @queue_handler(queue="orders")
    async def handle(body: bytes) -> None:
        pass

    return asyncio.run(_polled(handle, count))


async def _polled(handler: Any, count: int) -> dict[str, float]:
    from queue_runtime.config import load_settings
    from queue_runtime.hosts.poller import Poller
    from queue_runtime.transports import open_transport

    requests = 0

    def count_request(**_: object) -> None:
        nonlocal requests
        requests += 1

    def settled(_message: object, _outcome: object) -> None:
        if poller.stats.completed >= count:
            poller.stop()

    settings = load_settings(handler.definition.settings)
    transport = open_transport("sqs://orders", settings=settings)
    clients = transport._clients  # type: ignore[attr-defined]
    for client in (clients.receiving, clients.calling):
        client.meta.events.register("before-send.sqs", count_request)
    poller = Poller(handler, transport, settings=settings, observe=settled)
    cost = Cost()
    await poller.run()
    result = cost.stop(count, requests)
    await transport.aclose()
    return result


CONSUMERS: Final[dict[str, Callable[[int], dict[str, float]]]] = {
    "by_hand": by_hand,
    "polled": polled,
    "polled_async": polled_async,
}


@contextmanager
def _broker(count: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.brokers.sqs", "--queue", "orders"]
    process = subprocess.Popen(
        [*command, "--fill", str(count), "--latency-ms", str(LATENCY_MS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["endpoint_url"]
    finally:
        process.terminate()
        process.wait()


def measured(consumer: str, count: int) -> dict[str, float]:
    """Run one consumer in a process of its own on a queue of its own."""
    with _broker(count) as endpoint_url:
        result = subprocess.run(
            [sys.executable, "-m", "benchmarks.sqs_poller", "--run", consumer, str(count)],
            env={**os.environ, **_ENVIRONMENT, "AWS_ENDPOINT_URL_SQS": endpoint_url},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    answer: dict[str, float] = json.loads(result.stdout)
    return answer


def figures(count: int = MESSAGES) -> Iterator[Figure]:
    """Measure all, in turn."""
    rounds = [{name: measured(name, count) for name in CONSUMERS} for _ in range(ROUNDS)]
    for name, what in (("polled", "sync handler"), ("polled_async", "async handler")):
        for key, unit, limit in (
            ("rate", "messages a second", LEAST_SPEED),
            ("cpu", "us of CPU a message", MOST_CPU),
        ):
            pairs = [(each[name][key], each["by_hand"][key]) for each in rounds]
            yield Figure(
                f"SQS at {LATENCY_MS} ms, {what} / {THREADS} boto3 threads",
                median(ours for ours, _ in pairs),
                median(theirs for _, theirs in pairs),
                unit,
                median(ours / theirs for ours, theirs in pairs),
                limit,
                at_least=key == "rate",
            )
        requests = median(each[name]["requests"] for each in rounds)
        title = f"SQS, {what}, full queue"
        yield Figure(title, requests, None, "requests a message", requests, MOST_REQUESTS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(CONSUMERS[sys.argv[2]](int(sys.argv[3]))))
    else:
        for each in figures(*map(int, sys.argv[1:2])):
            print(each)
