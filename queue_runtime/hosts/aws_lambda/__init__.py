"""AWS Lambda behind an SQS event source."""

from queue_runtime.hosts.aws_lambda.event import LambdaReply, read_records
from queue_runtime.hosts.aws_lambda.host import LambdaContext, LambdaHost

__all__ = ["LambdaContext", "LambdaHost", "LambdaReply", "read_records"]
