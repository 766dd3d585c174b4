"""What a handler on an ordered queue can rely on."""

# --8<-- [start:handler]
from dataclasses import dataclass

from queue_runtime import queue_handler


@dataclass
class Step:
    number: int


done: list[int] = []


@queue_handler(queue="steps.fifo")
def take_step(step: Step) -> None:
    if step.number == 2:
        raise ConnectionError
    done.append(step.number)


# --8<-- [end:handler]


# --8<-- [start:batch]
from queue_runtime import Batch, queue_handler


@queue_handler(queue="steps.fifo", batch_order="accept_repeats")
def take_steps(steps: Batch[Step]) -> None:
    for message in steps:
        done.append(message.body.number)


# --8<-- [end:batch]


@queue_handler
def unaware(steps: Batch[Step]) -> None:
    done.extend(message.body.number for message in steps)


def test_a_batch_handler_must_accept_repeats() -> None:
    import pytest

    from queue_runtime import HandlerDefinitionError
    from queue_runtime.testing import lambda_context, sqs_event

    event = sqs_event(Step(1), Step(3), queue="steps.fifo")
    done.clear()
    assert take_steps(event, lambda_context()) == {"batchItemFailures": []}
    assert done == [1, 3]
    with pytest.raises(HandlerDefinitionError, match="accept_repeats"):
        unaware(event, lambda_context())
    assert done == [1, 3]
