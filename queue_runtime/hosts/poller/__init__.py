"""Runs a handler in a process of its own, polling a queue: for containers, and for a laptop."""

from queue_runtime.hosts.poller.counts import PollStats
from queue_runtime.hosts.poller.poller import Poller
from queue_runtime.hosts.poller.run import Until

__all__ = ["PollStats", "Poller", "Until"]
