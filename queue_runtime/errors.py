"""Defines the errors of the library; each names the person or part that has to act.

    QueueRuntimeError
    ├── HandlerDefinitionError (TypeError)   author: the function cannot be a handler
    ├── SettingsError (ValueError)           operator: a value is unknown, wrong or impossible
    ├── MissingExtraError (ImportError)      operator: an optional dependency is not installed
    ├── EventError (ValueError)              host: this is not an event of its queue
    ├── InvocationFailedError                host: take back every message that is not settled
    ├── BodyDecodeError (ValueError)         producer: one body is poison
    └── TransportError                       a queue service refused or could not be reached
        ├── QueueNotFoundError
        ├── AccessDeniedError
        ├── LockLostError                       the message is no longer ours to settle
        └── MessageTooLargeError

`Retry`, `DeadLetter` and `Discard` (queue_runtime.outcome) are signals of a handler, not errors.
No error of this tree ever carries a body or a credential in its text.
"""


class QueueRuntimeError(Exception):
    """Root of all errors that this library raises; catch it to tell them from your own."""


class HandlerDefinitionError(QueueRuntimeError, TypeError):
    """Raised at import when a function cannot be a handler; the text says what to write instead."""


class SettingsError(QueueRuntimeError, ValueError):
    """Raised at start; the text names every key that is wrong, where it came from and the fix."""


class MissingExtraError(QueueRuntimeError, ImportError):
    """Raised on first use of a feature whose optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional dependency: pip install 'queue-runtime[{extra}]'"
        )


class EventError(QueueRuntimeError, ValueError):
    """Raised before any handler runs, so that the whole delivery goes back to its queue."""


class InvocationFailedError(QueueRuntimeError):
    """Raised to the Functions host, so that it abandons the messages that are not settled yet."""


class BodyDecodeError(QueueRuntimeError, ValueError):
    """Raised when one body cannot be decoded; its text is location and type, never the input."""


class TransportError(QueueRuntimeError):
    """Raised when a queue service refused a request or could not be reached."""


class QueueNotFoundError(TransportError):
    """Raised when the named queue is not there, or its name cannot be one."""


class AccessDeniedError(TransportError):
    """Raised when the credentials are missing, have expired or do not allow the request."""


class LockLostError(TransportError):
    """Raised when a message's lock ended first: it will be delivered again, or already was."""


class MessageTooLargeError(TransportError):
    """Raised when a message is larger than the queue takes; the text has both sizes."""
