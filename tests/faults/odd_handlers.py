"""Handlers that do to their process what handlers should not: each once, by the first message."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from queue_runtime import Message, Retry, queue_handler
from tests.faults.handler import GATE, JOURNAL, write

if TYPE_CHECKING:
    from collections.abc import Callable


def once(what: str) -> bool:
    """Tell whether this is the first time in any process."""
    try:
        os.close(os.open(f"{os.environ[JOURNAL]}.{what}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def cancel_everything() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def interrupt() -> None:
    raise KeyboardInterrupt


def leave() -> None:
    raise GeneratorExit


TRICKS: dict[str, Callable[[], object]] = {
    "interrupt": interrupt,
    "leave": leave,
    "stop the loop": lambda: asyncio.get_running_loop().stop(),
    "cancel everything": cancel_everything,
    "shut the executor down": lambda: asyncio.ensure_future(
        asyncio.get_running_loop().shutdown_default_executor()
    ),
}


async def trick(message: Message[str], name: str) -> None:
    write("run", message)
    if once(name):
        TRICKS[name]()
    await asyncio.sleep(0)
    write("done", message)


@queue_handler(max_deliveries=50)
async def interrupts(message: Message[str]) -> None:
    await trick(message, "interrupt")


@queue_handler(max_deliveries=50)
async def leaves(message: Message[str]) -> None:
    await trick(message, "leave")


@queue_handler(max_deliveries=50)
async def stops_the_loop(message: Message[str]) -> None:
    await trick(message, "stop the loop")


@queue_handler(max_deliveries=50)
async def cancels_everything(message: Message[str]) -> None:
    await trick(message, "cancel everything")


@queue_handler(max_deliveries=50)
async def shuts_the_executor_down(message: Message[str]) -> None:
    await trick(message, "shut the executor down")


@queue_handler(max_deliveries=50)
async def blocks_the_loop(message: Message[str]) -> None:
    write("run", message)
    time.sleep(3600)  # noqa: ASYNC251 - the fault


@queue_handler(max_deliveries=50)
def leaves_a_thread(message: Message[str]) -> None:
    write("run", message)
    if once("thread"):
        threading.Thread(target=time.sleep, args=(3600,), name="left behind").start()
    write("done", message)


@queue_handler(max_deliveries=50)
def interrupts_on_a_thread(message: Message[str]) -> None:
    write("run", message)
    if once("interrupt"):
        raise KeyboardInterrupt
    write("done", message)


@queue_handler(max_deliveries=50)
def forks_on_a_thread(message: Message[str]) -> None:
    if once("fork") and os.fork() == 0:
        return
    write("run", message)
    write("done", message)


@queue_handler(max_deliveries=50)
async def forks_on_the_loop(message: Message[str]) -> None:
    if once("fork") and os.fork() == 0:
        await asyncio.sleep(0)
        return
    write("run", message)
    await asyncio.sleep(0.001)
    write("done", message)


@queue_handler(max_deliveries=50)
async def waits(message: Message[str]) -> None:
    write("run", message)
    if message.delivery_count == 1:
        await asyncio.sleep(3600)
    write("done", message)


@queue_handler(max_deliveries=50)
def hangs(message: Message[str]) -> None:
    write("run", message)
    while Path(os.environ[GATE]).exists():
        time.sleep(0.01)
    write("done", message)


@queue_handler(max_deliveries=50)
def holds_the_interpreter(message: Message[str]) -> None:
    write("run", message)
    if once("hold"):
        import re

        re.match(r"(a+)+$", "a" * 60 + "b")  # for longer than anybody waits
    write("done", message)


@queue_handler(max_deliveries=1_000)
async def slow_on_loop(message: Message[str]) -> None:
    write("run", message)
    await asyncio.sleep(0.2)


@queue_handler(max_deliveries=1_000)
def slow_on_thread(message: Message[str]) -> None:
    write("run", message)
    time.sleep(0.2)


@queue_handler(max_deliveries=1_000)
async def blocks_for_a_while(message: Message[str]) -> None:
    write("run", message)
    time.sleep(0.2)  # noqa: ASYNC251 - the fault


@queue_handler(max_deliveries=1_000)
async def fails(message: Message[str]) -> None:
    write("run", message)
    raise Retry("again", after=0)  # a delay would hide it, as it should
