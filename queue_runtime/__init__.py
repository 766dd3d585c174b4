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
    from queue_runtime.middleware import CallMiddleware, DeliveryMiddleware

    __version__: str

__all__ = [
    "AccessDeniedError",
    "Backoff",
    "Batch",
    "BodyDecodeError",
    "CallMiddleware",
    "DeadLetter",
    "DeadLetterRecord",
    "DeliveryMiddleware",
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


# Heavy, or for some only: each comes when it is asked for.
_LATER = {
    "CallMiddleware": "queue_runtime.middleware",
    "DeliveryMiddleware": "queue_runtime.middleware",
    "Idempotency": "queue_runtime.idempotency.options",
    "register": "queue_runtime.hosts.azure_functions",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("queue-runtime")
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
