"""Opens the queue that a URL names: by our table of services, or by an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from queue_runtime.config import redact
from queue_runtime.config.services import BY_PROVIDER, BY_SCHEME, SERVICES
from queue_runtime.errors import QueueNotFoundError
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Settings
    from queue_runtime.transports.base import Transport

# Opens a URL with settings, for the handler of a name.
Opener: TypeAlias = "Callable[[str, Settings, str], Transport]"

# Where a package elsewhere names its opener, by its scheme.
ENTRY_POINTS: Final = "queue_runtime.transports"


def open_transport(url: str, *, settings: Settings | None = None, handler: str = "") -> Transport:
    """Open the queue that a URL names; its module, and no other, is imported for it.

    - `local://orders`: a file under `settings.local_directory`; `local://orders?memory` is in this
      process. `local://orders/dead-letter` is its dead letters.
    - `sqs://orders`, `sqs://orders.fifo`: by name, in the region and account of the credentials.
      `sqs://123456789012/orders` is another account's; `sqs://arn:aws:sqs:…` says the region too.
      `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`, or any queue URL after `sqs://`.
    - `servicebus://namespace/orders`, `servicebus://namespace/topic/subscription`; without the
      namespace (`servicebus:///orders`) the one of the connection string.
    - Any other scheme: what an installed package opens by an entry point, named like the scheme, in
      the group `queue_runtime.transports`.

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
        transport.system,
        "ordered" if transport.ordered else "not ordered",
        float(transport.lock_seconds),
        transport.batch_size,
    )


def _opener(url: str) -> Opener:
    scheme = url.partition("://")[0]
    service = BY_SCHEME.get(scheme)
    return _foreign(url, scheme) if service is None else _loaded(service.opener)


def _loaded(opener: str) -> Opener:
    from importlib import import_module

    module, _, name = opener.partition(":")
    found: Opener = getattr(import_module(module), name)
    return found


def _foreign(url: str, scheme: str) -> Opener:
    """Find the opener that another package installed; looked up for no scheme of ours."""
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    matching = list(found.select(name=scheme))
    if not matching:
        ours = [service.schemes[0] for service in reversed(SERVICES)]
        known = ", ".join(f"{name}://" for name in [*ours, *sorted(found.names)])
        raise QueueNotFoundError(
            f"{url!r} is no queue URL: it has to start with one of {known} (a package of its own "
            f"adds another by an entry point in the group {ENTRY_POINTS})"
        )
    if len({point.value for point in matching}) > 1:
        values = " and ".join(sorted(point.value for point in matching))
        raise QueueNotFoundError(f"{scheme}:// is opened by {values}: uninstall one of them")
    try:
        opener: Opener = matching[0].load()
    except (ImportError, AttributeError) as error:
        raise QueueNotFoundError(
            f"{scheme}:// is opened by {matching[0].value}, which cannot be imported: {error}"
        ) from error
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
        *forms, last = (service.form.format(shown) for service in reversed(SERVICES))
        raise QueueNotFoundError(
            f"{shown!r} does not say where it is: write {', '.join(forms)} or {last}, or set "
            "QUEUE_PROVIDER"
        )
    return f"{BY_PROVIDER[settings.provider].prefix}{queue}"
