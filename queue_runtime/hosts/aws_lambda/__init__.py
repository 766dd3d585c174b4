"""AWS Lambda behind an SQS event source."""

from queue_runtime.hosts.aws_lambda.host import LambdaContext, LambdaHost, LambdaReply, read_records

__all__ = ["LambdaContext", "LambdaHost", "LambdaReply", "read_records"]
