"""Handlers that show what the host does where the example would not: slow, large, in order."""

import asyncio
import sys
import time

import queue_runtime
from queue_runtime import Message, Retry, queue_handler


def say(text: str) -> None:
    """Write a line of the function's own into its log."""
    sys.stdout.write(f"{text}\n")


@queue_handler
def slow(message: Message[float]) -> None:
    """Block for as many seconds as the body says."""
    say(f"started {message.id}")
    time.sleep(message.body)
    say(f"finished {message.id}")


@queue_handler
async def slow_async(message: Message[float]) -> None:
    """Wait for as many seconds as the body says."""
    say(f"started {message.id}")
    await asyncio.sleep(message.body)
    say(f"finished {message.id}")


@queue_handler
def measure(body: str) -> None:
    """Say how large the body is."""
    say(f"{len(body)} characters")


@queue_handler
def in_order(message: Message[str]) -> None:
    """Fail the first delivery of what the producer marked."""
    if message.body.startswith("late") and message.delivery_count == 1:
        raise Retry("not yet", after=5)
    say(f"ran {message.body}")


@queue_handler
def where(message: Message[str]) -> None:
    """Say which code runs, and under which identity."""
    say(f"code {queue_runtime.__file__}")
    say(f"message {message.id} delivery {message.delivery_count} as {message.broker_id}")
