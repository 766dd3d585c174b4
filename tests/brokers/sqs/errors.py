"""What the service answers instead of a result, with the codes that SDKs compare against."""

from __future__ import annotations

PREFIX = "AWS.SimpleQueueService."


class SqsError(Exception):
    """Carries both spellings of one error: boto3 shows `code`, the JSON body names `shape`."""

    def __init__(self, code: str, message: str, *, shape: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.shape = shape or code.removeprefix(PREFIX)
        self.status = status

    @property
    def sender_fault(self) -> bool:
        """Whether a retry of the same request would fail again."""
        return self.status < 500


def invalid_value(message: str) -> SqsError:
    return SqsError("InvalidParameterValue", message, shape="InvalidParameterValueException")


def invalid_parameter(value: object, name: str, reason: str) -> SqsError:
    return invalid_value(f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def wrong_queue_type(value: object, name: str) -> SqsError:
    return invalid_parameter(
        value, name, "The request include parameter that is not valid for this queue type."
    )


def missing_parameter(name: str) -> SqsError:
    return SqsError(
        "MissingParameter",
        f"The request must contain the parameter {name}.",
        shape="MissingRequiredParameterException",
    )


def malformed(message: str) -> SqsError:
    return SqsError("SerializationException", message)


def no_such_queue() -> SqsError:
    return SqsError(
        f"{PREFIX}NonExistentQueue",
        "The specified queue does not exist.",
        shape="QueueDoesNotExist",
    )


def queue_exists(attribute: str) -> SqsError:
    return SqsError(
        "QueueAlreadyExists",
        "A queue already exists with the same name and a different value "
        f"for attribute {attribute}",
        shape="QueueNameExists",
    )


def unknown_attribute(name: object) -> SqsError:
    return SqsError("InvalidAttributeName", f"Unknown Attribute {name}.")


def invalid_attribute(name: str, reason: str = "") -> SqsError:
    tail = f" Reason: {reason}" if reason else ""
    return SqsError("InvalidAttributeValue", f"Invalid value for the parameter {name}.{tail}")


def invalid_receipt(handle: object) -> SqsError:
    return SqsError(
        "ReceiptHandleIsInvalid",
        f'The input receipt handle "{handle}" is not a valid receipt handle.',
    )


class ReceiptExpiredError(SqsError):
    """A FIFO queue refuses what a standard queue accepts in vain."""

    def __init__(self, handle: str) -> None:
        super().__init__(
            "InvalidParameterValue",
            f"Value {handle} for parameter ReceiptHandle is invalid. "
            "Reason: The receipt handle has expired.",
            shape="InvalidParameterValueException",
        )

    def in_batch(self) -> SqsError:
        """The same refusal as an entry of DeleteMessageBatch spells it."""
        return SqsError("ReceiptHandleIsInvalid", "The receipt handle has expired")


def not_changeable(handle: str) -> SqsError:
    return invalid_parameter(
        handle,
        "ReceiptHandle",
        "Message does not exist or is not available for visibility timeout change.",
    )


def over_limit() -> SqsError:
    return SqsError("OverLimit", "Too many messages are in flight on this queue.", status=403)


def purge_in_progress(queue: str) -> SqsError:
    return SqsError(
        f"{PREFIX}PurgeQueueInProgress",
        f"Only one PurgeQueue operation on {queue} is allowed every 60 seconds.",
        status=403,
    )


def empty_batch(call: str) -> SqsError:
    return SqsError(
        f"{PREFIX}EmptyBatchRequest",
        f"There should be at least one {call}RequestEntry in the request.",
    )


def too_many_entries(sent: int) -> SqsError:
    return SqsError(
        f"{PREFIX}TooManyEntriesInBatchRequest",
        f"Maximum number of entries per request are 10. You have sent {sent}.",
    )


def invalid_entry_id() -> SqsError:
    return SqsError(
        f"{PREFIX}InvalidBatchEntryId",
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
        "It can be at most 80 letters long.",
    )


def repeated_entry_id(entry_id: str) -> SqsError:
    return SqsError(f"{PREFIX}BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")


def batch_too_long(limit: int, sent: int) -> SqsError:
    return SqsError(
        f"{PREFIX}BatchRequestTooLong",
        f"Batch requests cannot be longer than {limit} bytes. You have sent {sent} bytes.",
    )


def forbidden_character(character: str) -> SqsError:
    return SqsError(
        "InvalidMessageContents",
        f"Invalid binary character '#x{ord(character):X}' was found in the message body, "
        "the set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | "
        "#xE000 to #xFFFD | #x10000 to #x10FFFF",
    )
