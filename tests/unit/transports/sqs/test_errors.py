import pytest

from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    QueueNotFoundError,
    TransportError,
)
from queue_runtime.transports.sqs import errors as sqs_errors


@pytest.mark.parametrize(
    ("code", "kind", "fix"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", QueueNotFoundError, "create it"),
        ("QueueDoesNotExist", QueueNotFoundError, "AWS_REGION"),
        ("NoRegionError", QueueNotFoundError, "set AWS_REGION"),
        ("AccessDenied", AccessDeniedError, "allow sqs:ReceiveMessage on this queue"),
        ("AccessDeniedException", AccessDeniedError, "allow sqs:ReceiveMessage on this queue"),
        ("ExpiredToken", AccessDeniedError, "no valid credentials"),
        ("NoCredentialsError", AccessDeniedError, "no valid credentials"),
        ("KMS.AccessDeniedException", AccessDeniedError, "kms:Decrypt"),
        ("RequestThrottled", TransportError, "more slowly"),
        ("EndpointConnectionError", TransportError, "AWS_ENDPOINT_URL_SQS"),
        ("OverLimit", TransportError, "in flight"),
        ("InvalidParameterValue", TransportError, "InvalidParameterValue"),
    ],
)
def test_a_code_is_a_kind_with_a_fix(code: str, kind: type[TransportError], fix: str) -> None:
    error = sqs_errors.explained(code, "orders", "sqs:ReceiveMessage")
    assert type(error) is kind
    assert str(error).startswith(f"SQS queue orders: sqs:ReceiveMessage failed with {code}")
    assert fix in str(error)


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "InvalidParameterValue"])
def test_a_receipt_that_is_refused_is_a_lost_lock(code: str) -> None:
    error = sqs_errors.of_message(code, "m1", "orders", "sqs:DeleteMessage")
    assert isinstance(error, LockLostError)
    assert "message m1 of SQS queue orders" in str(error)


def test_another_failure_of_a_message_is_no_lost_lock() -> None:
    error = sqs_errors.of_message("InternalError", "m1", "orders", "sqs:DeleteMessage")
    assert type(error) is TransportError
    assert "m1" in str(error)


@pytest.mark.parametrize(
    ("why", "fix"),
    [
        ("AccessDenied", "allow sqs:SendMessage on the dead-letter queue, arn:dlq"),
        ("QueueDoesNotExist", "create arn:dlq, or correct QUEUE_DLQ_NAME or dead_letter="),
        ("no dead-letter queue is configured", "no dead-letter queue is configured"),
    ],
)
def test_a_dead_letter_that_was_not_made_says_what_to_do(why: str, fix: str) -> None:
    error = sqs_errors.not_dead_lettered(why, "arn:dlq")
    assert type(error) is TransportError
    assert str(error).endswith(fix)


def test_a_batch_that_is_too_large() -> None:
    error = sqs_errors.of_entry("BatchRequestTooLong", 3, "orders")
    assert isinstance(error, MessageTooLargeError)
    assert str(error).startswith("entry 3 was not sent to SQS queue orders")
