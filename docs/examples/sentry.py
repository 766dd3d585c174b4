"""A middleware that tells Sentry of a handler's errors."""

# --8<-- [start:sentry]
from collections.abc import Sequence

import sentry_sdk

from queue_runtime import DeadLetter, Discard, Outcome, Retry, queue_handler
from queue_runtime.middleware import Messages, Process


class ErrorsToSentry:
    blocking = True  # it awaits nothing but the call itself

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_tag("queue", messages[0].queue)
            scope.set_tag("message_id", messages[0].id)
            outcomes = await call_next(messages)
            # Of a batch handler that raised, one error is there for all messages.
            raised = {id(outcome.error): outcome.error for outcome in outcomes if outcome.error}
            for error in raised.values():
                if not isinstance(error, Retry | DeadLetter | Discard):  # decisions, not errors
                    sentry_sdk.capture_exception(error)
        return outcomes


@queue_handler(queue="orders", call_middleware=[ErrorsToSentry()])
def take_order(order: dict) -> None:
    if order["amount"] < 0:
        raise ValueError("a negative amount")


# --8<-- [end:sentry]

CALL = """
import json, runpy, sys
import sentry_sdk
from queue_runtime.testing import deliver
events = []
sentry_sdk.init(
    "http://key@127.0.0.1:9/1",
    before_send=lambda event, hint: events.append(event),  # which sends nothing
    include_local_variables=False,
)
take_order = runpy.run_path(sys.argv[1])["take_order"]
for amount in (1, -1):
    deliver(take_order, {"amount": amount})
print(json.dumps([[e["exception"]["values"][-1]["type"], e["tags"]["queue"]] for e in events]))
"""


def main() -> None:
    # In a process of its own, since an SDK is set up once for all of a process.
    import subprocess
    import sys

    command = [sys.executable, "-c", CALL, __file__]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.strip() == '[["ValueError", "orders"]]'
