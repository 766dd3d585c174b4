import builtins
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from queue_runtime.clouds import aws
from queue_runtime.errors import MissingExtraError, QueueNotFoundError

ARN = "arn:aws-cn:sqs:cn-north-1:123456789012:orders"
SOURCE = aws.parse_queue_arn(ARN)


def test_an_arn_is_taken_apart_and_put_together() -> None:
    assert (SOURCE.partition, SOURCE.region) == ("aws-cn", "cn-north-1")
    assert (SOURCE.account, SOURCE.name) == ("123456789012", "orders")
    assert str(SOURCE) == ARN
    assert {SOURCE: 1}[aws.parse_queue_arn(ARN)] == 1
    assert SOURCE not in (ARN, aws.parse_queue_arn(f"{ARN}2"))
    assert not SOURCE.ordered
    assert aws.parse_queue_arn(f"{ARN}.fifo").ordered


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "orders",
        "arn:aws:sqs:us-east-1:1",
        "arn:aws:sqs:us-east-1:1:q:more",
        "arn:aws:sqs::1:q",
        "arn:aws:sqs:us-east-1:1:",
        "arn:aws:kinesis:us-east-1:1:stream/x",
        "urn:aws:sqs:us-east-1:1:q",
    ],
)
def test_what_is_no_queues_arn_is_refused(arn: str) -> None:
    with pytest.raises(QueueNotFoundError, match="is not the ARN of an SQS queue"):
        aws.parse_queue_arn(arn)


@pytest.mark.parametrize(
    ("reference", "arn"),
    [
        ("dlq_1-a.fifo", "arn:aws-cn:sqs:cn-north-1:123456789012:dlq_1-a.fifo"),
        ("arn:aws:sqs:us-east-1:1:q", "arn:aws:sqs:us-east-1:1:q"),
        ("https://sqs.eu-west-1.amazonaws.com/9/q", "arn:aws-cn:sqs:eu-west-1:9:q"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/9/q", "arn:aws-cn:sqs:cn-north-1:9:q"),
        ("http://localhost:4566/000000000000/q/", "arn:aws-cn:sqs:cn-north-1:000000000000:q"),
        ("http://sqs.test/9/q", "arn:aws-cn:sqs:cn-north-1:9:q"),
    ],
)
def test_a_queue_is_meant_by_name_arn_or_url(reference: str, arn: str) -> None:
    assert str(aws.queue_arn(reference, SOURCE)) == arn


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("", "is no queue name"),
        ("a/b", "is no queue name"),
        ("a b", "is no queue name"),
        ("https://sqs.eu-west-1.amazonaws.com/q", "is not the URL of a queue"),
        ("https://sqs.eu-west-1.amazonaws.com//q", "is not the URL of a queue"),
        ("https://h/a/b/c", "is not the URL of a queue"),
        ("arn:aws:sns:us-east-1:1:topic", "is not the ARN"),
    ],
)
def test_what_means_no_queue_is_refused(reference: str, sentence: str) -> None:
    with pytest.raises(QueueNotFoundError, match=sentence):
        aws.queue_arn(reference, SOURCE)


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.mark.usefixtures("_credentials")
def test_a_client_gives_up_within_seconds_and_goes_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://localhost:9324/")
    client = aws.sqs_client("eu-west-1", read_timeout=1.0, attempts=3)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (1.0, 1.0)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert client.meta.region_name == "eu-west-1"
    assert aws.queue_url(client, SOURCE) == "http://localhost:9324/123456789012/orders"


def test_without_the_sdk_a_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_botocore(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"queue-runtime\[aws\]"):
        aws.sqs_client("us-east-1")


def _hide_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_sdk_is_loaded_when_its_session_is() -> None:
    assert aws.sdk_loaded({"botocore.session": json})
    assert not aws.sdk_loaded({"botocore": json})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError({"Error": {"Code": "Throttled"}}, "X"), "Throttled"),
        (ClientError({}, "X"), "Unknown"),
        (EndpointConnectionError(endpoint_url="x"), "EndpointConnectionError"),
        (ValueError(), None),
    ],
)
def test_a_failed_request_has_a_code_and_a_defect_has_none(
    error: Exception, code: str | None
) -> None:
    assert aws.error_code(error) == code


def test_without_the_sdk_nothing_is_a_failed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_botocore(monkeypatch)
    assert aws.error_code(ValueError()) is None
