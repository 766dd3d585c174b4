"""A message as a producer sends it and as a queue keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

MessageAttributes = dict[str, dict[str, str]]


class State(Enum):
    """Where a kept message is in its life; GONE marks what indexes may still point at."""

    READY = auto()
    DELAYED = auto()
    IN_FLIGHT = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a producer asked for, already checked against the limits."""

    body: str
    attributes: MessageAttributes = field(default_factory=dict)
    trace_header: str = ""
    group: str = ""
    deduplication_id: str = ""
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What a producer is told; a duplicate is told the original's id and number."""

    message_id: str
    sequence: int


@dataclass(slots=True, eq=False)
class Message:
    """One message in one queue; moving to another queue makes a new one with the same id."""

    id: str
    sequence: int
    body: str
    body_md5: str
    attributes: MessageAttributes
    trace_header: str
    group: str
    deduplication_id: str
    sent_at: float
    source_arn: str = ""
    state: State = State.READY
    receives: int = 0
    receives_here: int = 0  # redrive counts one queue's receives, consumers see those of all
    first_received_at: float = 0.0
    received_at: float = 0.0
    hidden_until: float = 0.0
    changed: bool = False  # since its last receive; such a receive cannot be repeated
