"""A middleware that gives each call a span of Datadog's tracer."""

# --8<-- [start:datadog]
from collections.abc import Sequence

from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import tracer

from queue_runtime import DeadLetter, Discard, Outcome, Retry, queue_handler
from queue_runtime.middleware import Messages, Process


class SpansToDatadog:
    blocking = True  # it awaits nothing but the call itself

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        first = messages[0]
        sent = {name: text for name, text in first.attributes.items() if isinstance(text, str)}
        tracer.context_provider.activate(HTTPPropagator.extract(sent))  # the producer's trace
        with tracer.trace("queue.process", resource=first.queue, span_type="worker") as span:
            span.set_tag("message_id", first.id)
            outcomes = await call_next(messages)
            for error in (outcome.error for outcome in outcomes):
                if error and not isinstance(error, Retry | DeadLetter | Discard):
                    span.set_exc_info(type(error), error, error.__traceback__)
        return outcomes


@queue_handler(queue="orders", call_middleware=[SpansToDatadog()])
def take_order(order: dict) -> None:
    if order["amount"] < 0:
        raise ValueError("a negative amount")


# --8<-- [end:datadog]

CALL = """
import json, runpy, sys
from ddtrace.trace import TraceFilter, tracer
from queue_runtime.testing import deliver
spans = []
class Kept(TraceFilter):
    def process_trace(self, trace):
        spans.extend(trace)  # and None sends nothing on
tracer.configure(trace_processors=[Kept()])
take_order = runpy.run_path(sys.argv[1])["take_order"]
sent = {"x-datadog-trace-id": "7", "x-datadog-parent-id": "8"}
for amount in (1, -1):
    deliver(take_order, {"amount": amount}, attributes=sent)
print(json.dumps([[s.name, s.resource, s.trace_id, s.parent_id, s.error] for s in spans]))
"""


def main() -> None:
    # In a process of its own, since a tracer is set up once for all of a process.
    import json
    import os
    import subprocess
    import sys

    command = [sys.executable, "-c", CALL, __file__]
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}
    shown = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **quiet}
    ).stdout
    assert json.loads(shown) == [
        ["queue.process", "orders", 7, 8, 0],
        ["queue.process", "orders", 7, 8, 1],
    ]
