"""Runs a handler on Service Bus messages described in JSON, as the Functions host would."""

from __future__ import annotations

import json
from math import inf
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.definition import Shape, settings_of
from queue_runtime.errors import EventError, InvocationFailedError
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.transports.base import SendResult
from queue_runtime.transports.service_bus.address import read_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from queue_runtime.clouds.azure_settlement import Call
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.errors import TransportError
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import OutgoingMessage

_TEXTS: Final = ("message_id", "session_id", "correlation_id", "content_type", "subject")
_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    "delivery_count": (int, "a whole number"),
    "application_properties": (dict, "an object"),
    **dict.fromkeys(_TEXTS, (str, "a text")),
}
_KEYS: Final = ("body", "delivery_count", "application_properties", *_TEXTS)


def azure_fates(
    handler: Handles,
    messages: Sequence[Mapping[str, Any]],
    *,
    queue: str | None = None,
    sessions: bool = False,
    settings: Settings | None = None,
    seconds: float = inf,
) -> list[tuple[Message[Any], Outcome]]:
    """Give each message's outcome; no request is made to a queue.

    A message has `body` (text as it is, anything else as JSON) and, where wanted, `message_id`,
    `session_id`, `correlation_id`, `content_type`, `subject`, `delivery_count` (1 on the first
    delivery) and `application_properties`. A batch handler gets all of them at once.

    Args:
        handler: the decorated function, sync or async.
        messages: as described.
        queue: its name; None takes the decorator's or the operator's.
        sessions: as if from a queue with sessions.
        settings: None takes the decorator's word, file and environment.
        seconds: the time that each invocation has.

    Raises:
        EventError: a message is not described like that.
    """
    known = settings_of(handler, settings)
    natives = [_native(message, at) for at, message in enumerate(messages, start=1)]
    fates: list[tuple[Message[Any], Outcome]] = []
    host = FunctionsHost(
        handler,
        _source(queue or known.queue or "queue", sessions=sessions),
        settings=known,
        seconds=seconds,
        settlement=_Settled(),
        make_sender=_Sent,
        observe=lambda some, outcomes: fates.extend(zip(some, outcomes, strict=True)),
    )
    for native in [natives] if handler.definition.shape is Shape.BATCH else natives:
        _invoke(host, native)
    return fates


def _source(queue: str, *, sessions: bool) -> Source:
    if not queue.startswith("servicebus://"):
        return Source(queue, "", sessions)
    address = read_address(queue)
    return Source(address.queue, "", sessions or address.sessions, address.subscription)


def read_azure_messages(path: Path) -> list[Mapping[str, Any]]:
    """Read a file of messages: a list of them, or an object whose `messages` are that.

    Raises:
        EventError: it cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise EventError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise EventError(f"{path} is not JSON: {error}") from None
    return azure_messages(content, str(path))


def azure_messages(content: Any, source: str) -> list[Mapping[str, Any]]:
    """Find the messages in what a file holds, or a test: a list, or an object with `messages`.

    Raises:
        EventError: there is no such list.
    """
    messages = content.get("messages") if isinstance(content, dict) else content
    if not isinstance(messages, list):
        raise EventError(f"{source} has no list of messages")
    return messages


def _invoke(host: FunctionsHost, native: Any) -> None:
    try:
        if host.definition.is_async:
            import asyncio

            asyncio.run(host.run_async(native))
        else:
            host.run(native)
    except InvocationFailedError:
        pass  # how the host learns of a retry; the outcome is there all the same


class FunctionMessageStub:
    """What is read of an `azure.functions.ServiceBusMessage`, which has to be installed itself."""

    def __init__(self, described: Mapping[str, Any], number: int) -> None:
        body = described["body"]
        # Half of a surrogate pair is no text; as bytes it is what a producer may send all the same.
        text = body if isinstance(body, str) else json.dumps(body)
        self._body = text.encode(errors="surrogatepass")
        self.application_properties = described.get("application_properties") or {}
        self.delivery_count = described.get("delivery_count") or 1
        self.sequence_number = number
        self.lock_token = f"lock-{number}"
        self.enqueued_time_utc = None
        self.metadata: Mapping[str, Any] = {}
        for name in _TEXTS:
            setattr(self, name, described.get(name))

    def get_body(self) -> bytes:
        """Give the body."""
        return self._body


def _native(message: Any, number: int) -> FunctionMessageStub:
    if not isinstance(message, dict) or "body" not in message or set(message) - set(_KEYS):
        raise EventError(f"message {number} is no object with a body and, of these, {_KEYS[1:]}")
    for key, (kind, noun) in _KINDS.items():
        value = message.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise EventError(f"message {number}: its {key} is not {noun}")
    if message.get("delivery_count", 1) is not None and message.get("delivery_count", 1) < 1:
        raise EventError(f"message {number}: its delivery_count is not 1 or more")
    return FunctionMessageStub(message, number)


class _Settled:
    def call(self, calls: Sequence[Call]) -> list[TransportError | None]:
        return [None] * len(calls)


class _Sent:
    def send_now(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        return [SendResult()] * len(messages)
