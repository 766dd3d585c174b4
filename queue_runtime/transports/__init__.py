"""Where messages come from and go to: one package a queue service."""

from queue_runtime.transports.services import open_transport, queue_url

__all__ = ["open_transport", "queue_url"]
