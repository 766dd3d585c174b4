"""Translates error codes of SQS and its SDK into sentences with the fix."""

from __future__ import annotations

from typing import Final

from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    QueueNotFoundError,
    TransportError,
)

# New credentials may be where the old ones were.
EXPIRED: Final = frozenset(
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "NoCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
    )
)
_NOT_FOUND: Final = frozenset(
    (
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.QueueDeletedRecently",
        "InvalidAddress",
    )
)
_CREDENTIALS: Final = frozenset(
    (
        *EXPIRED,
        "IncompleteSignature",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SignatureDoesNotMatch",
    )
)
_DENIED: Final = frozenset(("AccessDenied", "AccessDeniedException", "NotAuthorized"))
_KMS: Final = ("KMS.", "Kms", "AWS.SimpleQueueService.Kms")
_TOO_LARGE: Final = frozenset(
    ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", "MessageTooLong")
)
# The SDK's own names for a request that has no answer.
_NOT_REACHED: Final = frozenset(
    (
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "SSLError",
    )
)
_THROTTLED: Final = frozenset(("RequestThrottled", "Throttling", "ThrottlingException"))
# Of a settlement or renewal: SQS says no more than that the receipt is good for nothing.
_LOCK: Final = frozenset(
    (
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    )
)


def is_not_found(code: str) -> bool:
    """Tell whether there is no such queue."""
    return code in _NOT_FOUND


def explained(code: str, queue: str, action: str) -> TransportError:
    """Make the error of a whole request that failed."""
    kind, fix = _meaning(code, action)
    return kind(f"SQS queue {queue}: {action} failed with {code}{fix}")


def of_message(code: str, message_id: str, queue: str, action: str) -> TransportError:
    """Make the error of one message's settlement or renewal."""
    if code in _LOCK:
        return lock_lost(message_id, queue)
    kind, fix = _meaning(code, action)
    return kind(f"message {message_id} of SQS queue {queue}: {action} failed with {code}{fix}")


def of_delay(code: str) -> TransportError:
    """Make the error of a delay that was not set, of a message that comes back all the same."""
    if code in _LOCK:
        return TransportError(f"{code}: its visibility timeout had ended")
    return TransportError(f"{code}{_meaning(code, 'sqs:ChangeMessageVisibility')[1]}")


def of_entry(code: str, position: int, queue: str) -> TransportError:
    """Make the error of one message's send."""
    kind, fix = _meaning(code, "sqs:SendMessage")
    return kind(f"entry {position} was not sent to SQS queue {queue}: {code}{fix}")


def not_dead_lettered(why: str, target: str) -> TransportError:
    """Make the error of a dead-letter that was not sent to `target`; `why` is a code or a text."""
    fix = ""
    if why in _NOT_FOUND:
        fix = f": create {target}, or correct QUEUE_DLQ_NAME or dead_letter="
    elif why in _DENIED:
        fix = f": allow sqs:SendMessage on the dead-letter queue, {target}"
    return TransportError(f"{why}{fix}")


def lock_lost(message_id: str, queue: str) -> LockLostError:
    """Make the error of a message that is not ours any more."""
    return LockLostError(
        f"message {message_id} of SQS queue {queue}: its visibility timeout has ended, so it is "
        "delivered again, or already was; raise QUEUE_VISIBILITY_TIMEOUT_SECONDS if this happens "
        "often"
    )


def _meaning(code: str, action: str) -> tuple[type[TransportError], str]:
    if code in _NOT_FOUND:
        return QueueNotFoundError, (
            ": there is no such queue in this account and region; create it, or correct its name, "
            "account or AWS_REGION"
        )
    if code == "NoRegionError":
        return QueueNotFoundError, (
            ": nothing says which region it is in; set AWS_REGION, or write the queue's ARN"
        )
    if code in _CREDENTIALS:
        return AccessDeniedError, (
            ": there are no valid credentials; give the process a role, or set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and its companions anew"
        )
    if code in _DENIED:
        return AccessDeniedError, f": allow {action} on this queue to the process's role or user"
    if code.startswith(_KMS):
        return AccessDeniedError, (
            ": the queue is encrypted; allow kms:Decrypt and kms:GenerateDataKey on its key"
        )
    if code in _TOO_LARGE:
        return MessageTooLargeError, ": send less, or keep the content elsewhere"
    if code in _NOT_REACHED:
        return TransportError, (
            ": there was no answer; check the network, AWS_REGION and, where it is set, "
            "AWS_ENDPOINT_URL_SQS"
        )
    if code in _THROTTLED:
        return TransportError, ": too many requests; it is tried again, more slowly"
    if code == "OverLimit":
        return TransportError, ": as many messages are in flight as the queue can have"
    return TransportError, ""
