"""Python values that remember their AMQP type, so that what is decoded can be encoded again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class UByte(int):
    """An AMQP ubyte."""

    __slots__ = ()


class UShort(int):
    """An AMQP ushort."""

    __slots__ = ()


class UInt(int):
    """An AMQP uint."""

    __slots__ = ()


class ULong(int):
    """An AMQP ulong; descriptors are of this type."""

    __slots__ = ()


class Byte(int):
    """An AMQP byte."""

    __slots__ = ()


class Short(int):
    """An AMQP short."""

    __slots__ = ()


class Int(int):
    """An AMQP int; a plain Python int is an AMQP long."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since the epoch."""

    __slots__ = ()


class Symbol(str):
    """An AMQP symbol: equal to the same text as a string, but encoded apart from it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with the descriptor that says what it means."""

    descriptor: Any
    value: Any

    @property
    def fields(self) -> list[Any]:
        """The fields of a described list; empty where the value is something else."""
        return self.value if isinstance(self.value, list) else []


@dataclass(frozen=True, slots=True)
class Array:
    """Items that share one constructor; `code` is that constructor's format code."""

    code: int
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A fixed-width value that Python has no type for (decimals, char, float32), kept as bytes."""

    code: int
    raw: bytes
