"""Where messages come from and go to: one module a queue service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.errors import QueueNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Settings
    from queue_runtime.transports.base import Transport


def open_transport(url: str, *, settings: Settings | None = None, handler: str = "") -> Transport:
    """Open the queue that a URL names; its module, and no other, is imported for it.

    - `local://orders`: a file under `settings.local_directory`; `local://orders?memory` is in this
      process. `local://orders/dead-letter` is what was put aside.
    - `sqs://orders`, `sqs://orders.fifo`: by name, in the region and account of the credentials.
      `sqs://123456789012/orders` is another account's; `sqs://arn:aws:sqs:…` says the region too.
      `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`, or any queue URL after `sqs://`.

    Args:
        url: `scheme://queue`, with the options of its scheme as a query.
        settings: None loads them as every command does (file and environment).
        handler: the handler's name, for dead-letter entries.

    Raises:
        QueueNotFoundError: the URL names no queue that can be opened; the text says why.
        TransportError: the queue service refused, or could not be reached.
    """
    scheme = url.partition("://")[0]
    opener = _SCHEMES.get(scheme)
    if opener is None:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise QueueNotFoundError(f"{url!r} is no queue URL: it has to start with one of {known}")
    if settings is None:
        from queue_runtime.config import load_settings

        settings = load_settings()
    return opener(url, settings, handler)


def _local(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.local import open_local

    return open_local(url, settings, handler)


def _service_bus(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.service_bus_transport import open_service_bus

    return open_service_bus(url, settings, handler)


def _sqs(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.sqs import open_sqs

    return open_sqs(url, settings, handler)


_SCHEMES: Final[dict[str, Callable[[str, Settings, str], Transport]]] = {
    "local": _local,
    "sqs": _sqs,
    "servicebus": _service_bus,
    # As SQS itself writes a queue down, and operators copy it.
    "https": _sqs,
}
