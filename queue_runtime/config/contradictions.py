"""Finds settings that are right one by one, and cannot be meant together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.config.services import BY_SCHEME
from queue_runtime.config.table import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def impossible(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find values that contradict each other: their names, and why, with the fix."""
    if values["backoff_seconds"] > values["max_backoff_seconds"]:
        more, most = shown(values["backoff_seconds"]), shown(values["max_backoff_seconds"])
        why = f"{more} is more than the most, {most}; lower the first or raise the second"
        yield ("backoff_seconds", "max_backoff_seconds"), why
    queue = values["queue"] or ""
    if queue and queue == values["dead_letter"]:
        yield (
            ("queue", "dead_letter"),
            "a dead-lettered message would come straight back; name another queue",
        )
    scheme, _, rest = queue.partition("://")
    service = BY_SCHEME.get(scheme) if rest else None
    if service and values["provider"] not in (None, service.provider):
        why = (
            f"{scheme}:// is a queue of {service.provider}, not of {values['provider']}; correct "
            "either"
        )
        yield ("provider", "queue"), why
    if secret := values["connection_string"]:
        namespace = _host(rest) if scheme == "servicebus" else ""
        yield from _contradictions(secret.reveal(), namespace)


def _contradictions(
    connection_string: str, namespace: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    endpoint = _host(connection_string.lower().partition("endpoint=sb://")[2])
    if not endpoint:
        why = "has no Endpoint=sb://...; copy the whole connection string"
        yield ("connection_string",), why
    elif ".servicebus." in namespace:
        # In full it says "sign in there with an identity", and a connection string says "by key".
        why = (
            f"a key and the namespace {namespace} in full; leave out one (the short name may stay)"
        )
        yield ("connection_string", "queue"), why
    elif namespace and namespace not in (endpoint, endpoint.partition(".")[0]):
        why = f"one is for {endpoint}, the other for {namespace}; correct either"
        yield ("connection_string", "queue"), why


def _host(address: str) -> str:
    authority = address.partition(";")[0].partition("/")[0]
    return authority.rpartition("@")[2].partition(":")[0].lower()
