"""Whether a message was handled before: claims, keys, and the stores that remember them."""

from queue_runtime.idempotency.stores import open_store

__all__ = ["open_store"]
