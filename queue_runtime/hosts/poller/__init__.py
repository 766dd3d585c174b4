"""Runs a handler in a process of its own, polling a queue: for containers, and for a laptop."""

from queue_runtime.hosts.poller.poller import Poller, Until
from queue_runtime.hosts.poller.stats import PollStats

__all__ = ["PollStats", "Poller", "Until"]
