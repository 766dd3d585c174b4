"""What can be made to go wrong, where, and how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Point(StrEnum):
    """Where in a client's life a fault strikes."""

    CONNECT = "connect"
    OPEN = "open"
    CBS = "cbs"
    ATTACH = "attach"
    SEND = "send"
    DELIVER = "deliver"
    SETTLE = "settle"
    MANAGEMENT = "management"
    ADMINISTRATION = "administration"


@dataclass(frozen=True, slots=True)
class Drop:
    """Cut the connection instead of doing it."""


@dataclass(frozen=True, slots=True)
class DropAfter:
    """Do it, then cut the connection before the client hears of it."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Neither do it nor answer."""


@dataclass(frozen=True, slots=True)
class LoseReply:
    """Do it, but never answer."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Do it and answer that many seconds of real time later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Error:
    """Refuse it with this condition."""

    condition: str
    description: str = "injected by the test"


Action: TypeAlias = Drop | DropAfter | Ignore | LoseReply | Delay | Error


@dataclass(slots=True)
class Fault:
    """One planned fault; `struck` counts how often it has happened."""

    point: Point
    action: Action
    times: int | None = 1
    entity: str | None = None
    operation: str | None = None
    skip: int = 0
    struck: int = 0

    def applies(self, point: Point, entity: str | None, operation: str | None) -> bool:
        """Whether it is still to strike, and here."""
        return (
            self.point is point
            and (self.times is None or self.struck < self.times)
            and self.entity in (None, entity)
            and self.operation in (None, operation)
        )


class FaultPlan:
    """The faults still to come; the first that fits is used up."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Plans `fault` behind those planned before."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._faults.clear()

    def strike(
        self,
        point: Point,
        entity: str | None = None,
        operation: str | None = None,
        *,
        named: bool = False,
    ) -> Action | None:
        """The action to take now, None to behave; `named` asks for faults on this very entity."""
        with self._lock:
            for fault in self._faults:
                if fault.applies(point, entity, operation) and (fault.entity or not named):
                    return _use(fault)
        return None


def _use(fault: Fault) -> Action | None:
    if fault.skip:
        fault.skip -= 1
        return None
    fault.struck += 1
    return fault.action
