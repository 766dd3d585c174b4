"""One decorated function that consumes a queue, with the same outcome on every host."""

from queue_runtime.errors import (
    AccessDeniedError,
    BodyDecodeError,
    EventError,
    HandlerDefinitionError,
    LockLostError,
    MessageTooLargeError,
    MissingExtraError,
    QueueNotFoundError,
    QueueRuntimeError,
    SettingsError,
    TransportError,
)
from queue_runtime.handler import Handler, queue_handler
from queue_runtime.message import Batch, Message
from queue_runtime.outcome import DeadLetter, Discard, Disposition, Outcome, Retry
from queue_runtime.retry import Backoff

__all__ = [
    "AccessDeniedError",
    "Backoff",
    "Batch",
    "BodyDecodeError",
    "DeadLetter",
    "Discard",
    "Disposition",
    "EventError",
    "Handler",
    "HandlerDefinitionError",
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
]
