"""An OpenTelemetry SDK that prints spans, and a handler whose calls it sees."""

# --8<-- [start:set_up]
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from queue_runtime import queue_handler


def print_spans() -> None:  # call it once, in the module of the handler
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)


@queue_handler(queue="orders", tracing="otel")
def take(order: dict) -> None:
    trace.get_current_span().set_attribute("shop.order", order["id"])


# --8<-- [end:set_up]

CALL = """
import runpy, sys
from queue_runtime.testing import lambda_context, sqs_event
example = runpy.run_path(sys.argv[1])
example["print_spans"]()
example["take"](sqs_event({"id": "order-1"}, queue="orders"), lambda_context())
"""


def main() -> None:
    # In a process of its own, since a process can be given one SDK and never another.
    import subprocess
    import sys

    command = [sys.executable, "-c", CALL, __file__]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert '"name": "process orders"' in shown
    assert '"shop.order": "order-1"' in shown
