"""AWS: what a queue's ARN says, and its clients, made when they are first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queue_runtime.errors import MissingExtraError, QueueNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVICES = {"sqs": "SQS", "dynamodb": "DynamoDB", "secretsmanager": "Secrets Manager"}


class QueueArn:
    """The parts of `arn:partition:sqs:region:account:name`."""

    # No NamedTuple: to make one costs a cold start 1.5 ms, more than any module here.
    __slots__ = ("account", "name", "partition", "region")

    def __init__(self, partition: str, region: str, account: str, name: str) -> None:
        self.partition, self.region, self.account, self.name = partition, region, account, name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueueArn) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def ordered(self) -> bool:
        """FIFO, which only the name tells: fair standard queues have message groups too."""
        return self.name.endswith(".fifo")


def parse_queue_arn(arn: str) -> QueueArn:
    """Take an SQS ARN apart.

    Raises:
        QueueNotFoundError: it is not one.
    """
    parts = arn.split(":")
    if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs" or not all(parts[1:]):
        raise QueueNotFoundError(
            f"{arn!r} is not the ARN of an SQS queue (arn:aws:sqs:region:account:name)"
        )
    return QueueArn(parts[1], parts[3], parts[4], parts[5])


def queue_arn(reference: str, source: QueueArn) -> QueueArn:
    """Find the queue that an operator means by a name, an ARN or a URL.

    A bare name means the partition, region and account of `source`.

    Raises:
        QueueNotFoundError: it is none of the three.
    """
    if reference.startswith("arn:"):
        return parse_queue_arn(reference)
    if "://" in reference:
        return _arn_of_url(reference, source)
    if not reference or not all(c.isalnum() or c in "-_." for c in reference):
        raise QueueNotFoundError(f"{_hidden(reference)!r} is no queue name, ARN or URL")
    return QueueArn(source.partition, source.region, source.account, reference)


def _arn_of_url(url: str, source: QueueArn) -> QueueArn:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    path = parts.path.strip("/").split("/")
    if len(path) != 2 or not all(path):
        raise QueueNotFoundError(
            f"{_hidden(url)!r} is not the URL of a queue (https://host/account/name)"
        )
    labels = (parts.hostname or "").split(".")
    # sqs.<region>.amazonaws.com; any other host is an endpoint of the operator's own.
    region = labels[1] if labels[0] == "sqs" and "amazonaws" in labels else source.region
    return QueueArn(source.partition, region, path[0], path[1])


def _hidden(text: str) -> str:
    from queue_runtime.config import redact  # only a mistake pays for it

    return redact(text)


def queue_url(client: Any, queue: QueueArn) -> str:
    """Give the URL at the client's own endpoint, which spares a request and a permission."""
    return f"{client.meta.endpoint_url.rstrip('/')}/{queue.account}/{queue.name}"


def sqs_client(region: str, *, read_timeout: float = 5.0, attempts: int = 2) -> Any:
    """Make an SQS client whose every call ends within a few seconds, for use near a deadline.

    Raises:
        MissingExtraError: the AWS SDK is not installed.
    """
    return aws_client("sqs", region, read_timeout=read_timeout, attempts=attempts)


def dynamodb_client(region: str | None) -> Any:
    """Make a DynamoDB client that gives up soon: it is asked before and after each delivery.

    Raises:
        MissingExtraError: the AWS SDK is not installed.
    """
    return aws_client("dynamodb", region, read_timeout=2.0, attempts=3)


def aws_client(
    service: str,
    region: str | None,
    *,
    read_timeout: float,
    attempts: int,
    endpoint_url: str | None = None,
    session: Any = None,
) -> Any:
    """Make a client of one service, of a session of its own unless one is given.

    Credentials and `AWS_ENDPOINT_URL_SQS` and the like are found as the SDK documents it
    (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).

    Raises:
        MissingExtraError: the AWS SDK is not installed.
    """
    session = session or new_session(service)
    # botocore alone: boto3 adds resources that nobody uses here, and 25 ms to a cold start.
    from botocore.config import Config

    config = Config(
        connect_timeout=min(read_timeout, 2.0),
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        parameter_validation=False,
    )
    return session.create_client(
        service, region_name=region, endpoint_url=endpoint_url, config=config
    )


def new_session(service: str) -> Any:
    """Make the SDK's session, which finds credentials and configuration and keeps them.

    Raises:
        MissingExtraError: the AWS SDK is not installed, which `service` would need.
    """
    try:
        from botocore.session import get_session
    except ImportError:
        raise MissingExtraError(_SERVICES[service], "aws") from None
    return get_session()


def sdk_loaded(modules: Mapping[str, object]) -> bool:
    """Tell from sys.modules whether the SDK's import is still to be paid for."""
    return "botocore.session" in modules


def error_code(error: Exception) -> str | None:
    """Give the service's code for a failed request, or the SDK's name for one without an answer.

    None for whatever is no failure of a request, which must not be taken for one.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return None
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__ if isinstance(error, BotoCoreError) else None
