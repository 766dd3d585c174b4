"""Which queue or subscription a `servicebus://` URL names, and where its namespace is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.errors import QueueNotFoundError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.config import Settings

DEAD_LETTER: Final = "dead-letter"

_OPTIONS: Final = ("sessions", "receivers")
_TRUTH: Final = {"": True, "true": True, "false": False}
_MOST_PARTS: Final = 2
_MOST_RECEIVERS: Final = 32
_DOMAIN: Final = "servicebus.windows.net"


class ServiceBusAddress(NamedTuple):
    """A queue, or a subscription of a topic, or the dead-letter sub-queue of either.

    - `namespace`: as the URL has it; empty where the connection string says it.
    - `entity`: the queue, or the topic, that messages are sent to.
    - `sessions`: whether it requires sessions. `receivers`: connections that receive side by side.
    """

    namespace: str
    entity: str
    subscription: str | None = None
    dead_letters: bool = False
    sessions: bool = False
    receivers: int = 1

    @property
    def queue(self) -> str:
        """What logs and metrics call it."""
        parts = (self.entity, self.subscription, DEAD_LETTER if self.dead_letters else None)
        return "/".join(part for part in parts if part)


def read_address(url: str) -> ServiceBusAddress:
    """Read `servicebus://namespace/queue` or `…/topic/subscription`, either with `/dead-letter`.

    A name that has a slash in itself is written with %2F.

    Raises:
        QueueNotFoundError: it is no such URL; the text says what one looks like.
    """
    parts = urlsplit(url)
    path = parts.path.removeprefix("/").removesuffix("/")
    names = [unquote(name) for name in path.split("/")]
    dead_letters = len(names) > 1 and names[-1] == DEAD_LETTER
    if dead_letters:
        names.pop()
    readable = all(name and "\N{REPLACEMENT CHARACTER}" not in name for name in names)
    if not readable or len(names) > _MOST_PARTS or "@" in parts.netloc:
        raise QueueNotFoundError(_names_no_queue(parts.hostname or "", parts.path))
    options = _options(url, parts.query)
    return ServiceBusAddress(
        parts.netloc,
        names[0],
        names[1] if len(names) == _MOST_PARTS else None,
        dead_letters=dead_letters,
        # The sub-queue has none, whatever the queue requires.
        sessions=_truth(url, options) and not dead_letters,
        receivers=_receivers(url, options),
    )


def connection_to(address: ServiceBusAddress, settings: Settings) -> ServiceBusConnection:
    """Find out how to reach a namespace: by the connection string, or as an identity.

    Raises:
        SettingsError: neither says where the namespace is, or they differ; the text has the fix.
    """
    secret = settings.secret("connection_string")
    if secret is not None:
        connection = ServiceBusConnection(secret)
        _check_string(address, secret.reveal(), connection.host)
        return connection
    if not address.namespace:
        raise SettingsError(
            f"servicebus:///{address.entity} names no namespace: write "
            "servicebus://namespace/queue, or set AZURE_SERVICE_BUS_CONNECTION_STRING"
        )
    return ServiceBusConnection(
        namespace=_host(address.namespace),
        client_id=settings.azure_client_id,
        tenant_id=settings.azure_tenant_id,
        client_secret=settings.secret("azure_client_secret"),
    )


def _check_string(address: ServiceBusAddress, text: str, host: str | None) -> None:
    """Say what the SDK would say with the first message, and without the name of the setting."""
    fields = [part.partition("=") for part in text.strip().split(";") if part]
    known = {name.strip().lower(): value.strip() for name, _, value in fields}
    if missing := _missing(fields, known):
        raise SettingsError(
            f"AZURE_SERVICE_BUS_CONNECTION_STRING has no {missing}: copy it whole from the "
            "namespace's shared access policies"
        )
    entity = known.get("entitypath")
    if entity and entity != address.entity:
        raise SettingsError(
            f"AZURE_SERVICE_BUS_CONNECTION_STRING is for {entity} alone (EntityPath), not for "
            f"{address.entity}: take one of the namespace, or of that queue"
        )
    if known.get("usedevelopmentemulator", "").lower() == "true" or not address.namespace:
        return
    if _host(address.namespace).lower() != host:
        raise SettingsError(
            f"the queue's URL names the namespace {_host(address.namespace)}, but "
            f"AZURE_SERVICE_BUS_CONNECTION_STRING is for {host}: correct one of them, or leave "
            f"the namespace out (servicebus:///{address.entity})"
        )


def _missing(fields: Sequence[tuple[str, str, str]], known: Mapping[str, str]) -> str:
    if any(not equals for _, equals, _ in fields):
        return "= in one of its parts"
    if known.get("sharedaccesssignature"):
        return ""
    names = ("SharedAccessKeyName", "SharedAccessKey")
    return next((name for name in names if not known.get(name.lower())), "")


def _host(namespace: str) -> str:
    return namespace if "." in namespace else f"{namespace}.{_DOMAIN}"


def _names_no_queue(host: str, path: str) -> str:
    first = f"servicebus://{host}{path} names no queue: "
    if host and not path.strip("/") and "." not in host:
        # Which is a namespace by its place, and was probably meant as the queue.
        return (
            f"{first}write servicebus:///{host} for the queue {host} in the namespace that the "
            f"connection names, or servicebus://{host}/queue for one in the namespace {host}"
        )
    return (
        f"{first}write servicebus://namespace/queue or servicebus://namespace/topic/subscription, "
        f"with /{DEAD_LETTER} after it for its dead letters"
    )


def _options(url: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    wrong = [name for name in options if name not in _OPTIONS]
    if wrong:
        raise QueueNotFoundError(
            f"{url!r}: a Service Bus queue has no option {wrong[0]!r}; {', '.join(_OPTIONS)} are it"
        )
    return options


def _truth(url: str, options: dict[str, str]) -> bool:
    text = options.get("sessions", "false")
    if text not in _TRUTH:
        raise QueueNotFoundError(f"{url!r}: sessions is true or false, not {text!r}")
    return _TRUTH[text]


def _receivers(url: str, options: dict[str, str]) -> int:
    text = options.get("receivers", "1")
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_RECEIVERS:
        raise QueueNotFoundError(
            f"{url!r}: receivers is a whole number from 1 to {_MOST_RECEIVERS}, not {text!r}"
        )
    return int(text)
