"""Defines the decisions about a message: signals for handlers, outcomes for hosts."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final


class Signal(Exception):
    """Decides an outcome when a handler raises it; not an error."""

    reason = ""  # of the class too: a subclass with an __init__ of its own need not call ours

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = str(reason)  # an exception is easily passed for a text


class Retry(Signal):
    """Deliver this message again, after `after` seconds, or by the backoff policy where None.

    Never sooner than the queue service can do it; later where it cannot be delayed exactly.
    A retry counts as a delivery: the last allowed one is dead-lettered with this reason.
    """

    after: float | None = None

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not 0 <= after < float("inf"):
            raise ValueError(f"Retry(after=) takes seconds, 0 or more, not {after!r}")
        self.after = after


class DeadLetter(Signal):
    """Dead-letter this message now, with the reason, for a person to look at."""


class Discard(Signal):
    """Acknowledge this message without having done its work; the reason is logged."""


class Disposition(StrEnum):
    """Names the three ways to settle a message."""

    ACK = "ack"
    RETRY = "retry"
    DEAD_LETTER = "dead-letter"


class Outcome:
    """The decision about one delivery of one message.

    - `delay`: seconds until the next delivery; None leaves it to the queue's own time.
    - `asked`: the author chose the delay, not the backoff; such a delay is made even by a copy.
    - `reason`: a sentence for the dead-letter entry and the log; it never holds a body.
    - `error`: what the handler raised, if it did.
    - `unrun`: the handler did not get to finish (deadline, group order, breaker, a duplicate in
      progress). Unrun is not failed: it never counts as the last allowed delivery.
    - `may_run`: the handler could not be stopped, and may still run.
    - `settled`: the step was carried out already, since the group had to wait for it.

    Immutable, since hosts share the common ones. `replace` makes another.
    """

    __slots__ = ("asked", "delay", "disposition", "error", "may_run", "reason", "settled", "unrun")

    disposition: Disposition
    delay: float | None
    reason: str
    error: BaseException | None
    unrun: bool
    asked: bool
    may_run: bool
    settled: bool

    def __init__(
        self,
        disposition: Disposition,
        *,
        delay: float | None = None,
        reason: str = "",
        error: BaseException | None = None,
        unrun: bool = False,
        asked: bool = False,
        may_run: bool = False,
        settled: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "disposition", disposition)
        put(self, "delay", delay)
        put(self, "reason", reason)
        put(self, "error", error)
        put(self, "unrun", unrun)
        put(self, "asked", asked)
        put(self, "may_run", may_run)
        put(self, "settled", settled)

    if (
        not TYPE_CHECKING
    ):  # pragma: no branch - as a frozen dataclass, whose import costs a cold start 10 ms

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"an Outcome does not change: use replace({name}=...)")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"an Outcome does not change: {name} stays")

    def replace(self, **changes: Any) -> Outcome:
        """Make a copy with other values."""
        return Outcome(**{name: getattr(self, name) for name in Outcome.__slots__} | changes)

    def __repr__(self) -> str:
        parts = [str(self.disposition)]
        if self.delay is not None:
            parts.append(f"in {self.delay:g} s")
        if self.unrun:
            parts.append("unrun")
        if self.error is not None:
            parts.append(type(self.error).__name__)
        return f"<Outcome {', '.join(parts)}>"


ACK: Final = Outcome(Disposition.ACK)


def unrun(reason: str, *, delay: float | None = None, may_run: bool = False) -> Outcome:
    """Give a message back that its handler did not get to finish; it is not a failure."""
    return Outcome(Disposition.RETRY, delay=delay, reason=reason, unrun=True, may_run=may_run)


def classify(signal: Signal, error: BaseException | None = None) -> Outcome:
    """Translate a handler's own word; `delay` stays None where the backoff has to fill it.

    A signal that is none of the three is a retry: only what is known to be done is acknowledged.
    `error` is what was raised, where that is not the signal itself.
    """
    error = signal if error is None else error
    if isinstance(signal, Discard):
        return Outcome(Disposition.ACK, reason=signal.reason or "discarded", error=error)
    if isinstance(signal, DeadLetter):
        reason = signal.reason or "by the handler"
        return Outcome(Disposition.DEAD_LETTER, reason=reason, error=error)
    delay = signal.after if isinstance(signal, Retry) else None
    return Outcome(
        Disposition.RETRY,
        delay=delay,
        reason=signal.reason or "the handler raised Retry",
        error=error,
        asked=delay is not None,
    )
