"""Says in our words, and with what to do next, what the Service Bus SDK raises."""

from __future__ import annotations

from typing import Final

from queue_runtime.config import redact
from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    QueueNotFoundError,
    QueueRuntimeError,
    TransportError,
)

_LONGEST_TEXT: Final = 200
# The service's answer to a receiver of the wrong kind.
_WRONG_KIND: Final = "amqp:not-allowed"
_FIXES: Final[dict[type[TransportError], str]] = {
    QueueNotFoundError: "create it, or correct the name in the queue's URL",
    AccessDeniedError: (
        "give the key Listen and Send claims, or the identity the roles Azure Service Bus Data "
        "Receiver and Data Sender"
    ),
    MessageTooLargeError: "send less, or keep the content elsewhere and send where it is",
}
_NOT_REACHED: Final = (
    "check the namespace's name, the network, and that port 5671 is open to the outside"
)


def is_of_connection(error: BaseException) -> bool:
    """Tell whether the connection or link is to blame, so that a new one may do better."""
    from azure.servicebus import exceptions

    return isinstance(
        error,
        exceptions.ServiceBusConnectionError
        | exceptions.ServiceBusCommunicationError
        | exceptions.OperationTimeoutError
        | TimeoutError
        # The SDK's way to say that a receiver is closed.
        | ValueError,
    )


def is_of_lock(error: BaseException) -> bool:
    """Tell whether a message is no longer ours."""
    from azure.servicebus import exceptions

    return isinstance(
        error,
        exceptions.MessageLockLostError
        | exceptions.SessionLockLostError
        | exceptions.MessageNotFoundError,
    )


def translated(error: Exception, entity: str, *, sending: bool = False) -> TransportError:
    """Give our error for one of the SDK's."""
    if isinstance(error, QueueRuntimeError):
        return error if isinstance(error, TransportError) else TransportError(str(error))
    text = redact(str(error)).partition("\n")[0][:_LONGEST_TEXT]
    if _WRONG_KIND in text and sending:
        return TransportError(
            f"{entity} takes messages of sessions only: give each a group id (--group-id) ({text})"
        )
    if _WRONG_KIND in text:
        return QueueNotFoundError(
            f"{entity} was polled the wrong way: add ?sessions=true to its URL if it requires "
            f"sessions, and leave it out if not ({text})"
        )
    kind = _kind(error)
    what = f"{type(error).__name__}: {text}" if text else "no answer"
    fix = _NOT_REACHED if _is_not_reached(error) else _FIXES.get(kind)
    return kind(f"{entity}: {what}; {fix}" if fix else f"{entity}: {what}")


def lock_lost(message_id: str, queue: str) -> LockLostError:
    """Give the error of a message that is not ours any more."""
    return LockLostError(
        f"message {message_id} of {queue}: its lock has ended, so it is delivered again, or "
        "already was"
    )


def _is_not_reached(error: Exception) -> bool:
    from azure.servicebus.exceptions import ServiceBusConnectionError

    return isinstance(error, ServiceBusConnectionError)


def _kind(error: Exception) -> type[TransportError]:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.servicebus import exceptions

    kinds: dict[type[Exception], type[TransportError]] = {
        exceptions.MessagingEntityNotFoundError: QueueNotFoundError,
        exceptions.ServiceBusAuthenticationError: AccessDeniedError,
        exceptions.ServiceBusAuthorizationError: AccessDeniedError,
        exceptions.MessageSizeExceededError: MessageTooLargeError,
        ClientAuthenticationError: AccessDeniedError,
    }
    return next((ours for sdk, ours in kinds.items() if isinstance(error, sdk)), TransportError)
