"""Speaks to queue services: one package for each.

Public, beside `open_transport` and `queue_url`: what a transport of one's own is written with. See
docs/transports/your-own.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queue_runtime.message import DeadLetterRecord, Wire
    from queue_runtime.observability.span_attributes import SpanPlace
    from queue_runtime.settlement.lineage import ATTRIBUTE, read_carried, read_dead_letter
    from queue_runtime.transports.base import (
        Abilities,
        Action,
        CountsSessions,
        Depth,
        GivesUpReceives,
        OutgoingMessage,
        Purges,
        SendResult,
        SettleFailure,
        Step,
        Transport,
        refused,
    )
    from queue_runtime.transports.services import open_transport, queue_url

__all__ = [
    "ATTRIBUTE",
    "Abilities",
    "Action",
    "CountsSessions",
    "DeadLetterRecord",
    "Depth",
    "GivesUpReceives",
    "OutgoingMessage",
    "Purges",
    "SendResult",
    "SettleFailure",
    "SpanPlace",
    "Step",
    "Transport",
    "Wire",
    "open_transport",
    "queue_url",
    "read_carried",
    "read_dead_letter",
    "refused",
]

_ELSEWHERE = {
    "ATTRIBUTE": "queue_runtime.settlement.lineage",
    "DeadLetterRecord": "queue_runtime.message",
    "SpanPlace": "queue_runtime.observability.span_attributes",
    "Wire": "queue_runtime.message",
    "open_transport": "queue_runtime.transports.services",
    "queue_url": "queue_runtime.transports.services",
    "read_carried": "queue_runtime.settlement.lineage",
    "read_dead_letter": "queue_runtime.settlement.lineage",
}


def __getattr__(name: str) -> object:
    # On the first use: a Lambda function needs none of them, and dataclasses cost its cold start.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE.get(name, "queue_runtime.transports.base")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
