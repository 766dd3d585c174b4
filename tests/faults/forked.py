"""Processes that begin in a hundredth of a second, since what they import is there already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import TYPE_CHECKING

from queue_runtime.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerContext

PRELOADED = [
    "azure.servicebus.aio",
    "botocore.session",
    "queue_runtime.cli.poll",
    "queue_runtime.clouds.aws_http",
    "queue_runtime.transports.service_bus.transport",
    "queue_runtime.transports.sqs.transport",
    "tests.faults.forked",
    "tests.faults.handler",
    "tests.faults.local_processes",
]


def context() -> ForkServerContext:
    """The one that all tests share: the first of them says what is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run_cli(arguments: Sequence[str], environment: Mapping[str, str], output: str) -> None:
    """Be the command `queue-runtime`, with all that it prints in a file."""
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    sys.exit(main(arguments))
