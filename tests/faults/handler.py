"""Handlers of pollers that are killed: they write down each beginning and each end."""

from __future__ import annotations

import asyncio
import os
import random
import time

from queue_runtime import Message, queue_handler

JOURNAL, GATE = "TEST_JOURNAL", "TEST_GATE"
PAUSE_SECONDS = 0.005


def write(what: str, message: Message[str]) -> None:
    """Append a line in one write, so that a killed process leaves no half of one."""
    journal = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, f"{what} {message.body} {os.getpid()}\n".encode())
    os.close(journal)


def is_held() -> bool:
    return os.path.exists(os.environ[GATE])


@queue_handler(max_deliveries=50)
async def on_loop(message: Message[str]) -> None:
    write("run", message)
    while is_held():  # noqa: ASYNC110 - the test is in another process
        await asyncio.sleep(PAUSE_SECONDS)
    await asyncio.sleep(random.random() * 0.02)
    write("done", message)


@queue_handler(max_deliveries=50)
def on_thread(message: Message[str]) -> None:
    write("run", message)
    while is_held():
        time.sleep(PAUSE_SECONDS)
    write("done", message)
