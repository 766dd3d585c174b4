"""Runs the broker as a process: prints its connection string and serves until told to stop."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading

from . import ServiceBusBroker


def main() -> None:
    """Ends on SIGTERM, SIGINT, or when standard input closes, which outlives a crashed parent."""
    options = _parse()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch_input, args=(stop,), daemon=True).start()
    with ServiceBusBroker(port=options.port) as broker:
        _create(broker, options)
        line = {"connection_string": broker.connection_string, "port": broker.port}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        stop.wait()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.brokers.service_bus")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes a free one")
    parser.add_argument("--queue", action="append", default=[], metavar="NAME")
    parser.add_argument("--session-queue", action="append", default=[], metavar="NAME")
    parser.add_argument("--topic", action="append", default=[], metavar="TOPIC/SUBSCRIPTION")
    parser.add_argument("--lock-seconds", type=float, default=60.0, help="of every entity")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every answer")
    return parser.parse_args()


def _create(broker: ServiceBusBroker, options: argparse.Namespace) -> None:
    lock = options.lock_seconds
    for name in options.queue:
        broker.create_queue(name, lock_duration=lock)
    for name in options.session_queue:
        broker.create_queue(name, lock_duration=lock, requires_session=True)
    topics: set[str] = set()
    for path in options.topic:
        topic, _, subscription = path.partition("/")
        if topic not in topics:
            broker.create_topic(topic)
            topics.add(topic)
        if subscription:
            broker.create_subscription(topic, subscription, lock_duration=lock)
    broker.set_latency(options.latency_ms / 1000)


def _watch_input(stop: threading.Event) -> None:
    while sys.stdin.read(4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
