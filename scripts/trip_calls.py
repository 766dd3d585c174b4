"""Records the calls that one acknowledged message takes part in, on each host.

A message with a marker in its body passes through the host under `sys.setprofile`. A call belongs
to the trip where one of its arguments, or its result, is or holds that message: polls of an empty
queue and timers do not, so each run records the same.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import queue_runtime
from queue_runtime import queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.hosts.poller.held_message import HeldMessage
from queue_runtime.message import Message
from queue_runtime.testing import lambda_context, sqs_event
from queue_runtime.testing.azure import FunctionMessageStub
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.services import open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

MARKER: Final = "the message of the trip"
_PACKAGE: Final = str(Path(queue_runtime.__file__).parent)
# How far a message may be inside of an argument: event, list of records, record, body.
_DEPTH: Final = 4


@queue_handler(queue="orders")
def handle(body: str) -> None:
    """Do nothing with an order, and so acknowledge it."""


@queue_handler(queue="orders")
async def handle_on_the_loop(body: str) -> None:
    """Do the same where no thread runs the handler, so that the order of calls is fixed."""


class Call(NamedTuple):
    """One call of the trip.

    - `caller`: the nearest module up the stack that takes part too; None where an event loop or a
      thread continues with the message.
    """

    module: str
    caller: str | None


class Recorder:
    """Notes the calls that a marked message takes part in, in their order."""

    def __init__(self) -> None:
        # The frame of each call is kept, so that a coroutine that goes on is no second call.
        self._calls: dict[FrameType, tuple[str, list[str]]] = {}
        self._taking_part: set[FrameType] = set()

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """Note one event of `sys.setprofile`."""
        if event not in {"call", "return"} or module_of(frame.f_code) is None:
            return
        if event == "call" and frame not in self._calls:
            self._calls[frame] = str(module_of(frame.f_code)), _callers(frame)
            if any(holds_the_message(value) for value in _arguments(frame)):
                self._taking_part.add(frame)
        elif event == "return" and frame in self._calls and holds_the_message(result):
            self._taking_part.add(frame)

    def trip(self) -> list[Call]:
        """Give the calls that the message took part in."""
        mine = [known for frame, known in self._calls.items() if frame in self._taking_part]
        modules = {module for module, _ in mine}
        return [
            Call(module, next((name for name in callers if name in modules), None))
            for module, callers in mine
        ]


def module_of(code: CodeType) -> str | None:
    """Give a function's module below `queue_runtime`; None for other code and comprehensions."""
    if code.co_name.startswith("<") or not code.co_filename.startswith(_PACKAGE):
        return None
    relative = Path(code.co_filename).relative_to(_PACKAGE).with_suffix("")
    return None if relative.parts[0] == "testing" else str(relative)


def holds_the_message(value: Any, depth: int = _DEPTH) -> bool:
    """Tell whether a value is the marked message, in any of its forms, or holds it."""
    if isinstance(value, str):
        return MARKER in value
    if isinstance(value, bytes):
        return MARKER.encode() in value
    if not depth:
        return False
    return any(holds_the_message(part, depth - 1) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Message):
        return [getattr(value, "native", None)]
    if isinstance(value, HeldMessage):
        return [getattr(value, "message", None)]
    if isinstance(value, FunctionMessageStub):
        return [value.get_body()]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, partial):
        return list(value.args)
    return list(value) if isinstance(value, list | tuple) else []


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04)
    return [frame.f_locals[name] for name in code.co_varnames[:count] if name in frame.f_locals]


def _callers(frame: FrameType) -> list[str]:
    """Give the modules up the stack, the nearest first."""
    above, found = frame.f_back, []
    while above is not None:
        module = module_of(above.f_code)
        if module is not None:
            found.append(module)
        above = above.f_back
    return found


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record the calls of this thread, and of those that begin meanwhile."""
    recorder = Recorder()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    try:
        yield recorder
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def on_lambda() -> list[Call]:
    """Record one message on the Lambda host."""
    host = LambdaHost(handle, settings=_settings())
    host(sqs_event("another", queue="orders"), lambda_context())
    event, context = sqs_event(MARKER, queue="orders"), lambda_context()
    with recording() as recorder:
        host(event, context)
    return recorder.trip()


def on_functions() -> list[Call]:
    """Record one message on the Functions host."""
    host = FunctionsHost(handle, Source("orders", ""), settings=_settings(), seconds=60.0)
    host.run(FunctionMessageStub({"body": "another"}, 1))
    native = FunctionMessageStub({"body": MARKER}, 2)
    with recording() as recorder:
        host.run(native)
    return recorder.trip()


def on_poller() -> list[Call]:
    """Record one message on a poller of a local queue in memory."""
    return asyncio.run(_poll())


async def _poll() -> list[Call]:
    settings = _settings()
    with recording() as recorder:
        transport = open_transport("local://orders?memory=true", settings=settings)
        try:
            for body in ("another", MARKER):
                await transport.send([OutgoingMessage(body=body)])
                sent = len(recorder.trip())
                await Poller(handle_on_the_loop, transport, settings=settings).run(Until.EMPTY)
        finally:
            await transport.aclose()
    return recorder.trip()[sent:]


def _settings() -> Any:
    return load_settings(handle.definition.settings, environ={})


TRIPS: Final[dict[str, tuple[str, Callable[[], list[Call]]]]] = {
    "lambda": ("AWS Lambda, behind SQS", on_lambda),
    "functions": ("Azure Functions, behind Service Bus", on_functions),
    "poller": ("Poller of a local queue", on_poller),
}
