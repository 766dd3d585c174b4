"""The handler of pollers that are killed: it writes down each beginning and each end."""

from __future__ import annotations

import asyncio
import os
import random

from queue_runtime import Message, queue_handler

JOURNAL = "TEST_JOURNAL"


def write(*words: str) -> None:
    """Append a line in one write, so that a killed process leaves no half of one."""
    journal = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, f"{' '.join(words)}\n".encode())
    os.close(journal)


@queue_handler
async def handle(message: Message[str]) -> None:
    write("run", message.id, str(os.getpid()), message.group_id or "-")
    await asyncio.sleep(random.random() * 0.02)
    write("done", message.id, str(os.getpid()), message.group_id or "-")
