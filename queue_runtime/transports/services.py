"""Which package opens a queue: one table of schemes and providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.config import redact
from queue_runtime.errors import QueueNotFoundError
from queue_runtime.observability.events import events

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
    - `servicebus://namespace/orders`, `servicebus://namespace/topic/subscription`; without the
      namespace (`servicebus:///orders`) the one of the connection string.

    Args:
        url: `scheme://queue`, with the options of its scheme as a query; or a bare name, which is
            a queue of `settings.provider`.
        settings: None loads them as every command does (file and environment).
        handler: the handler's name, for dead-letter entries.

    Raises:
        QueueNotFoundError: the URL names no queue that can be opened; the text says why.
        TransportError: the queue service refused, or could not be reached.
    """
    if settings is None:
        from queue_runtime.config import load_settings

        settings = load_settings()
    url = queue_url(url, settings)
    try:
        transport = _opener(url)(url, settings, handler)
        _say_opened(transport)
        return transport
    except QueueNotFoundError as error:
        # It says what was given, which may be a connection string or have a password in it.
        raise QueueNotFoundError(redact(str(error))) from None


def _say_opened(transport: Transport) -> None:
    events.debug(
        transport.queue,
        "connect",
        "%s is opened: %s, %s, locks of %g s, at most %d messages a request",
        transport.queue,
        getattr(transport, "system", "local"),
        "ordered" if transport.ordered else "not ordered",
        float(transport.lock_seconds),
        transport.batch_size,
    )


def _opener(url: str) -> Callable[[str, Settings, str], Transport]:
    opener = _SCHEMES.get(url.partition("://")[0])
    if opener is None:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise QueueNotFoundError(f"{url!r} is no queue URL: it has to start with one of {known}")
    return opener


def queue_url(queue: str, settings: Settings) -> str:
    """Make a URL of a name, by the provider that the settings say; a URL stays as it is.

    Raises:
        QueueNotFoundError: they say none.
    """
    if "://" in queue:
        return queue
    if settings.provider is None:
        shown = redact(queue)
        raise QueueNotFoundError(
            f"{shown!r} does not say where it is: write local://{shown}, sqs://{shown} or "
            f"servicebus://namespace/{shown}, or set QUEUE_PROVIDER"
        )
    return f"{_OF_PROVIDER[settings.provider]}{queue}"


def _local(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.local.transport import open_local

    return open_local(url, settings, handler)


def _service_bus(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.service_bus.transport import open_service_bus

    return open_service_bus(url, settings, handler)


def _sqs(url: str, settings: Settings, handler: str) -> Transport:
    from queue_runtime.transports.sqs.transport import open_sqs

    return open_sqs(url, settings, handler)


_OF_PROVIDER: Final = {"azure": "servicebus:///", "aws": "sqs://", "local": "local://"}
_SCHEMES: Final[dict[str, Callable[[str, Settings, str], Transport]]] = {
    "local": _local,
    "sqs": _sqs,
    "servicebus": _service_bus,
    # As SQS itself writes a queue down, and operators copy it.
    "https": _sqs,
}
