"""The broker as a process, for benchmarks and for clients in other languages."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from tests.brokers.sqs.broker import SqsBroker
from tests.brokers.sqs.faults import Cut, Fail, FailEntries, Latency, Throttle

_STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Print one JSON line with the endpoint and the queue URLs, then serve until a signal."""
    options = _options()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # before the thread, which inherits it
    with SqsBroker(
        host=options.host, port=options.port, disorder=options.disorder, seed=options.seed
    ) as broker:
        urls = {name: _create(broker, name, options) for name in options.queue}
        _add_faults(broker, options)
        for name in urls:
            broker.fill(name, options.fill, "x" * options.body_size)
        line = json.dumps({"endpoint_url": broker.endpoint_url, "queues": urls})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        signal.sigwait(_STOP)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.brokers.sqs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--queue", action="append", default=[], help="may be repeated")
    parser.add_argument("--visibility-timeout", type=int, default=30)
    parser.add_argument("--fill", type=int, default=0, help="messages put into each queue")
    parser.add_argument("--body-size", type=int, default=1024, help="of those messages")
    parser.add_argument("--disorder", type=int, default=0, help="see SqsBroker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--jitter-ms", type=float, default=0.0)
    for name in ("error", "throttle", "partial", "cut", "lost-reply"):
        parser.add_argument(f"--{name}-rate", type=float, default=0.0, help="0 to 1")
    return parser.parse_args()


def _create(broker: SqsBroker, name: str, options: argparse.Namespace) -> str:
    return broker.create_queue(name, VisibilityTimeout=options.visibility_timeout)


def _add_faults(broker: SqsBroker, options: argparse.Namespace) -> None:
    if options.latency_ms or options.jitter_ms:
        broker.faults.add(Latency(options.latency_ms / 1000, options.jitter_ms / 1000))
    for fault, rate in (
        (Fail(), options.error_rate),
        (Throttle(), options.throttle_rate),
        (FailEntries(), options.partial_rate),
        (Cut(), options.cut_rate),
        (Cut(after_effect=True), options.lost_reply_rate),
    ):
        if rate:
            broker.faults.add(fault, rate=rate)


if __name__ == "__main__":
    main()
