"""One decorated function that consumes a queue, with the same outcome on every host."""

from typing import TYPE_CHECKING, Any

from queue_runtime.errors import (
    AccessDeniedError,
    BodyDecodeError,
    EventError,
    HandlerDefinitionError,
    InvocationFailedError,
    LockLostError,
    MessageTooLargeError,
    MissingExtraError,
    QueueNotFoundError,
    QueueRuntimeError,
    SettingsError,
    TransportError,
)
from queue_runtime.handler import Handler, queue_handler
from queue_runtime.message import Batch, DeadLetterRecord, Message
from queue_runtime.outcome import DeadLetter, Discard, Disposition, Outcome, Retry
from queue_runtime.retry import Backoff

if TYPE_CHECKING:
    from queue_runtime.hosts.azure_functions import register
    from queue_runtime.idempotency.options import Idempotency

__all__ = [
    "AccessDeniedError",
    "Backoff",
    "Batch",
    "BodyDecodeError",
    "DeadLetter",
    "DeadLetterRecord",
    "Discard",
    "Disposition",
    "EventError",
    "Handler",
    "HandlerDefinitionError",
    "Idempotency",
    "InvocationFailedError",
    "LockLostError",
    "Message",
    "MessageTooLargeError",
    "MissingExtraError",
    "Outcome",
    "QueueNotFoundError",
    "QueueRuntimeError",
    "Retry",
    "SettingsError",
    "TransportError",
    "queue_handler",
    "register",
]


def __getattr__(name: str) -> Any:
    # Heavy, and for some only: it comes when it is asked for.
    if name == "register":
        from queue_runtime.hosts.azure_functions import register

        return register
    if name == "Idempotency":
        from queue_runtime.idempotency.options import Idempotency

        return Idempotency
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
