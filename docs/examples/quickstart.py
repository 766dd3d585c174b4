"""The steps of the quick start."""

# --8<-- [start:handler]
from queue_runtime import queue_handler


@queue_handler(queue="greetings")
def greet(greeting: dict) -> None:
    print(f"hello, {greeting['name']}")


# --8<-- [end:handler]


# --8<-- [start:call]
def test_greet_is_a_plain_function() -> None:
    greet({"name": "Ada"})


# --8<-- [end:call]


# --8<-- [start:deliver]
from queue_runtime import Disposition
from queue_runtime.testing import deliver


def test_a_greeting_without_a_name_is_retried() -> None:
    outcome = deliver(greet, {"nam": "Ada"})
    assert outcome.disposition is Disposition.RETRY
    assert isinstance(outcome.error, KeyError)


# --8<-- [end:deliver]


# --8<-- [start:model]
from dataclasses import dataclass

from queue_runtime import queue_handler


@dataclass
class Greeting:
    name: str


@queue_handler(queue="greetings")
def greet_somebody(greeting: Greeting) -> None:
    print(f"hello, {greeting.name}")


def test_a_greeting_without_a_name_is_put_aside() -> None:
    outcome = deliver(greet_somebody, {"nam": "Ada"})
    assert outcome.disposition is Disposition.DEAD_LETTER
    assert outcome.reason == "poison: the body does not fit Greeting: name: missing"


# --8<-- [end:model]


# --8<-- [start:lambda]
from queue_runtime.testing import lambda_context, sqs_event


def test_greet_on_lambda() -> None:
    event = sqs_event({"name": "Ada"}, {"name": "Grace"}, queue="greetings")
    assert greet(event, lambda_context(seconds=30)) == {"batchItemFailures": []}


# --8<-- [end:lambda]
