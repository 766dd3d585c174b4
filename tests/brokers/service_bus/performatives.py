"""The AMQP frame bodies, each checked field by field so that a peer's types cannot surprise."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .errors import ProtocolError
from .types import Described, Symbol, UByte, UInt, ULong, UShort

if TYPE_CHECKING:
    from collections.abc import Sequence

Wire: TypeAlias = "tuple[type | None, ...]"
SENDER, RECEIVER = False, True


@dataclass(slots=True)
class Open:
    """Starts a connection."""

    code: ClassVar[int] = 0x10
    wire: ClassVar[Wire] = (str, str, UInt, UShort, UInt, None, None, None, None, dict)

    container_id: str
    hostname: str | None = None
    max_frame_size: int | None = None
    channel_max: int | None = None
    idle_time_out: int | None = None
    outgoing_locales: Any = None
    incoming_locales: Any = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Begin:
    """Starts a session on a channel."""

    code: ClassVar[int] = 0x11
    wire: ClassVar[Wire] = (UShort, UInt, UInt, UInt, UInt, None, None, dict)

    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Attach:
    """Starts a link in a session."""

    code: ClassVar[int] = 0x12
    wire: ClassVar[Wire] = (
        *(str, UInt, bool, UByte, UByte, Described, Described),
        *(dict, bool, UInt, ULong, None, None, dict),
    )

    name: str
    handle: int
    role: bool
    snd_settle_mode: int | None = None
    rcv_settle_mode: int | None = None
    source: Described | None = None
    target: Described | None = None
    unsettled: dict[Any, Any] | None = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Flow:
    """Grants credit on a link, or restates the windows of a session."""

    code: ClassVar[int] = 0x13
    wire: ClassVar[Wire] = (*(UInt,) * 8, bool, bool, dict)

    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Transfer:
    """Carries a message, or one piece of it."""

    code: ClassVar[int] = 0x14
    wire: ClassVar[Wire] = (UInt, UInt, bytes, UInt, bool, bool, UByte, Described, *(bool,) * 3)

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: int | None = None
    state: Described | None = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Disposition:
    """Says what became of a range of deliveries."""

    code: ClassVar[int] = 0x15
    wire: ClassVar[Wire] = (bool, UInt, UInt, bool, Described, bool)

    role: bool
    first: int
    last: int | None = None
    settled: bool | None = None
    state: Described | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Detach:
    """Ends a link."""

    code: ClassVar[int] = 0x16
    wire: ClassVar[Wire] = (UInt, bool, Described)

    handle: int
    closed: bool | None = None
    error: Described | None = None


@dataclass(slots=True)
class End:
    """Ends a session."""

    code: ClassVar[int] = 0x17
    wire: ClassVar[Wire] = (Described,)

    error: Described | None = None


@dataclass(slots=True)
class Close:
    """Ends a connection."""

    code: ClassVar[int] = 0x18
    wire: ClassVar[Wire] = (Described,)

    error: Described | None = None


@dataclass(slots=True)
class SaslMechanisms:
    """Offers ways to authenticate."""

    code: ClassVar[int] = 0x40
    wire: ClassVar[Wire] = (None,)

    mechanisms: Any


@dataclass(slots=True)
class SaslInit:
    """Picks a way to authenticate."""

    code: ClassVar[int] = 0x41
    wire: ClassVar[Wire] = (Symbol, bytes, str)

    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(slots=True)
class SaslOutcome:
    """Ends the SASL dialogue; code 0 is success."""

    code: ClassVar[int] = 0x44
    wire: ClassVar[Wire] = (UByte, bytes)

    outcome: int
    additional_data: bytes | None = None


Performative: TypeAlias = (
    Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close
    | SaslMechanisms | SaslInit | SaslOutcome
)  # fmt: skip
_KINDS: tuple[type[Performative], ...] = (
    *(Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close),
    *(SaslMechanisms, SaslInit, SaslOutcome),
)
_BY_CODE: dict[int, type[Performative]] = {kind.code: kind for kind in _KINDS}
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS}
_MANDATORY = {
    kind: sum(field.default is MISSING for field in fields(kind)) - (kind is Begin or kind is Flow)
    for kind in _KINDS
}  # the first field of Begin and Flow may be null, yet must be thought of by whoever builds one


def to_described(body: Performative) -> Described:
    """Every field, trailing nulls included: clients have failed on shorter lists."""
    values = (getattr(body, name) for name in _NAMES[type(body)])
    return Described(ULong(body.code), list(map(_wrap, body.wire, values)))


def from_described(value: object) -> Performative:
    """The performative, or a ProtocolError that names the field at fault."""
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise ProtocolError("a frame body is no described list")
    kind = _BY_CODE.get(value.descriptor) if isinstance(value.descriptor, int) else None
    if kind is None:
        raise ProtocolError(f"unknown performative {value.descriptor!r}")
    return kind(*_checked(kind, value.value))


def _wrap(kind: type | None, value: Any) -> Any:
    return value if kind is None or value is None else kind(value) if kind in _INTS else value


_INTS = (UByte, UShort, UInt, ULong, Symbol)


def _checked(kind: type[Performative], values: Sequence[Any]) -> list[Any]:
    names = _NAMES[kind]
    if len(values) > len(names):
        raise ProtocolError(f"{kind.__name__} has {len(values)} fields")
    padded = [*values, *[None] * (len(names) - len(values))]
    optional_first = kind is Begin or kind is Flow
    for position, (name, expected, value) in enumerate(zip(names, kind.wire, padded, strict=True)):
        if value is None:
            if optional_first <= position < _MANDATORY[kind] + optional_first:
                raise ProtocolError(f"{kind.__name__}.{name} is missing")
        elif expected is not None and not _fits(expected, value):
            raise ProtocolError(f"{kind.__name__}.{name} is a {type(value).__name__}")
    return padded


def _fits(expected: type, value: Any) -> bool:
    if expected in (UByte, UShort, UInt, ULong):
        return type(value) in (UByte, UShort, UInt, ULong)
    if expected in (str, Symbol):
        return isinstance(value, str)
    return isinstance(value, expected)
