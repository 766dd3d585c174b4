"""What may go wrong on purpose: typed faults, and the rules that say when they strike."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class Latency:
    """The call takes effect this much later; jitter adds up to that much more."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Fail:
    """The call is answered with an error and has no effect."""

    code: str = "InternalFailure"
    status: int = 500
    message: str = "The request processing has failed because of an unknown error."


@dataclass(frozen=True, slots=True)
class Throttle:
    """The call is refused as too many; it has no effect."""


@dataclass(frozen=True, slots=True)
class FailEntries:
    """Entries of a batch call fail, the others succeed; without `ids` any entry may."""

    code: str = "InternalError"
    sender_fault: bool = False
    message: str = "The entry failed on purpose."
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection closes without a reply, before or after the call took effect."""

    after_effect: bool = False


Fault = Latency | Fail | Throttle | FailEntries | Cut


@dataclass(slots=True, eq=False)
class Rule:
    """When a fault strikes; `remaining` counts down to none."""

    fault: Fault
    calls: Collection[str]
    queue: str
    rate: float
    remaining: int | None

    def covers(self, call: str, queue: str) -> bool:
        return (
            self.remaining != 0
            and (not self.calls or call in self.calls)
            and (not self.queue or queue == self.queue)
        )

    def strikes(self, random: Random) -> bool:
        if self.rate < 1.0 and random.random() >= self.rate:
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls one call: a delay, and at most one of the faults that end it."""

    delay: float = 0.0
    ending: Fail | Throttle | Cut | None = None


_UNHARMED = Plan()


class Faults:
    """The rules in force; may be changed from any thread while the broker runs."""

    def __init__(self, seed: int = 0) -> None:
        self._rules: tuple[Rule, ...] = ()
        self._random = Random(seed)

    def add(
        self,
        fault: Fault,
        *,
        calls: Collection[str] = (),
        queue: str = "",
        rate: float = 1.0,
        times: int | None = None,
    ) -> Rule:
        """Put a fault in force for the named calls and queue (all, if none is named)."""
        if isinstance(calls, str):
            msg = f"calls takes a collection of call names, not one text: write [{calls!r}]"
            raise TypeError(msg)
        rule = Rule(fault, calls, queue, rate, times)
        self._rules = (*self._rules, rule)
        return rule

    def remove(self, rule: Rule) -> None:
        self._rules = tuple(other for other in self._rules if other is not rule)

    def clear(self) -> None:
        self._rules = ()

    def plan(self, call: str, queue: str) -> Plan:
        if not self._rules:
            return _UNHARMED
        delay = 0.0
        ending: Fail | Throttle | Cut | None = None
        for rule in self._rules:
            if not rule.covers(call, queue):
                continue
            match rule.fault:
                case Latency(seconds, jitter):
                    if rule.strikes(self._random):
                        delay += seconds + jitter * self._random.random()
                case FailEntries():
                    pass
                case fault:
                    if ending is None and rule.strikes(self._random):
                        ending = fault
        return Plan(delay, ending)

    def entry(self, call: str, queue: str, entry_id: str) -> FailEntries | None:
        """The fault that befalls one entry of a batch, if any."""
        for rule in self._rules:
            fault = rule.fault
            if (
                isinstance(fault, FailEntries)
                and rule.covers(call, queue)
                and (not fault.ids or entry_id in fault.ids)
                and rule.strikes(self._random)
            ):
                return fault
        return None
