"""When a failed message is delivered again, and when it has been tried often enough."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from queue_runtime.errors import BodyDecodeError, HandlerDefinitionError
from queue_runtime.outcome import DeadLetter, Discard, Disposition, Outcome, Retry, Signal, classify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from queue_runtime.message import Message

# Beyond this power every sane maximum is reached; a huge count would only cost time.
_LARGEST_POWER = 60
# What the exceptions of a group say, the safest first.
_RETRIES, _PUTS_ASIDE, _UNDECIDED, _ACKNOWLEDGES = range(4)


class Backoff:
    """Exponential delays with full jitter: between 0 and `base * factor ** (deliveries - 1)`.

    Full jitter spreads a burst of failures over the whole interval, so that they do not come back
    together (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        base: seconds before the second delivery, at most.
        factor: what each further delivery multiplies it by.
        maximum: seconds that no delay exceeds.
        jitter: False gives the upper end every time.
    """

    __slots__ = ("base", "factor", "jitter", "maximum")

    def __init__(
        self,
        base: float = 1.0,
        *,
        factor: float = 2.0,
        maximum: float = 900.0,
        jitter: bool = True,
    ) -> None:
        # Said this way round, NaN is refused too.
        if not (0 <= base < inf and 1 <= factor < inf and 0 <= maximum < inf):
            raise HandlerDefinitionError(
                "Backoff() takes base and maximum of 0 or more and a factor of 1 or more, all "
                "finite, "
                f"not base={base!r}, factor={factor!r}, maximum={maximum!r}"
            )
        self.base, self.factor, self.maximum, self.jitter = base, factor, maximum, jitter

    def __repr__(self) -> str:
        return (
            f"Backoff({self.base!r}, factor={self.factor!r}, maximum={self.maximum!r}, "
            f"jitter={self.jitter!r})"
        )

    def delay(self, delivery_count: int) -> float:
        """Seconds to wait after the given delivery failed."""
        power = min(max(delivery_count - 1, 0), _LARGEST_POWER)
        try:
            ceiling = min(self.base * self.factor**power, self.maximum)
        except OverflowError:
            ceiling = self.maximum
        if not self.jitter:
            return ceiling
        from random import uniform  # 2 ms that only a failing message has to pay

        return uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


Reaction: TypeAlias = "Signal | type[Signal] | Backoff"


class RetryPolicy:
    """Decides the outcome of a message whose handler raised.

    - A signal decides. A body that cannot be decoded is poison: dead-lettered at once.
    - `reactions` maps exception classes to a signal or to a backoff of their own; the class nearest
      in the exception's own order of inheritance counts.
    - Of an exception group the exception inside it decides that is safest to follow: one that asks
      for a retry, else one that dead-letters, else one that says nothing, and only then a Discard.
    - Anything else is retried by `backoff`.
    - A retry on the last of `max_deliveries` is dead-lettered instead.
    """

    __slots__ = ("backoff", "max_deliveries", "reactions")

    def __init__(
        self,
        *,
        max_deliveries: int = 4,
        backoff: Backoff | None = None,
        reactions: Mapping[type[Exception], Reaction] | None = None,
    ) -> None:
        self.max_deliveries = max_deliveries
        self.backoff = backoff or Backoff()
        self.reactions = _checked(reactions or {})

    def outcome(
        self, error: BaseException, message: Message[object], *, shared: bool = False
    ) -> Outcome:
        """Decide the outcome from the exception that the handler raised; never loses a message.

        `shared` says that it was raised for a whole batch: a body that cannot be decoded is then
        none of this message's, since its own was decoded before the call.
        """
        if isinstance(error, BaseExceptionGroup) and not self._names_group(error):
            error = self._decisive(error)
        if isinstance(error, BodyDecodeError) and not shared:
            error.__traceback__ = None  # a place in our own decoder, which helps nobody
            return Outcome(Disposition.DEAD_LETTER, reason=f"poison: {error}", error=error)
        reaction = error if isinstance(error, Signal) else self._reaction(error)
        backoff = reaction if isinstance(reaction, Backoff) else self.backoff
        signal = reaction if isinstance(reaction, Signal) else Retry(_summary(error))
        outcome = classify(signal, error)
        if outcome.disposition is Disposition.RETRY:
            return self._spent(outcome, message.delivery_count, backoff)
        return outcome

    def _spent(self, outcome: Outcome, delivery_count: int, backoff: Backoff) -> Outcome:
        if delivery_count >= self.max_deliveries:
            reason = (
                f"failed on delivery {delivery_count} of {self.max_deliveries}: {outcome.reason}"
            )
            return outcome.replace(disposition=Disposition.DEAD_LETTER, delay=None, reason=reason)
        if outcome.delay is None:
            return outcome.replace(delay=backoff.delay(delivery_count))
        return outcome

    def _names_group(self, group: BaseException) -> bool:
        """Tell whether `on_error` has a word for groups as such."""
        groups = (each for each in type(group).__mro__ if issubclass(each, BaseExceptionGroup))
        return any(each in self.reactions for each in groups)

    def _decisive(self, group: BaseExceptionGroup[Any]) -> BaseException:
        """Give the exception inside a group that decides; the group where none of several does.

        `asyncio.TaskGroup` wraps whatever its tasks raise, be it one exception.
        """
        leaves = list(_leaves(group))
        decisive = min(leaves, key=self._risk)
        undecided = self._risk(decisive)[0] == _UNDECIDED
        return group if undecided and len(leaves) > 1 else decisive

    def _risk(self, error: BaseException) -> tuple[int, float]:
        """Rank an exception by what following it could cost; of two retries the later is first."""
        if isinstance(error, BodyDecodeError):
            return _PUTS_ASIDE, 0.0
        reaction = error if isinstance(error, Signal) else self._reaction(error)
        if reaction is None:
            return _UNDECIDED, 0.0
        if isinstance(reaction, DeadLetter):
            return _PUTS_ASIDE, 0.0
        if isinstance(reaction, Discard):
            return _ACKNOWLEDGES, 0.0
        return _RETRIES, -(getattr(reaction, "after", None) or 0.0)

    def _reaction(self, error: BaseException) -> Signal | Backoff | None:
        if self.reactions:
            for ancestor in type(error).__mro__:
                reaction = self.reactions.get(ancestor)
                if reaction is not None:
                    return _with_reason(reaction, error)
        return None


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += reversed(error.exceptions)
        else:
            yield error


def _checked(reactions: Mapping[Any, Reaction]) -> Mapping[type, Signal | Backoff]:
    checked: dict[type, Signal | Backoff] = {}
    for error, reaction in reactions.items():
        if not isinstance(error, type) or not issubclass(error, BaseException):
            raise HandlerDefinitionError(f"on_error maps exception classes, not {error!r}")
        made = reaction() if isinstance(reaction, type) else reaction
        if not isinstance(made, Signal | Backoff):
            raise HandlerDefinitionError(
                f"on_error[{error.__name__}] takes Retry, DeadLetter, Discard or a Backoff, "
                f"not {reaction!r}"
            )
        checked[error] = made
    return checked


def _with_reason(reaction: Signal | Backoff, error: BaseException) -> Signal | Backoff:
    if isinstance(reaction, Backoff) or reaction.reason:
        return reaction
    if isinstance(reaction, Retry):
        return Retry(_summary(error), after=reaction.after)
    return type(reaction)(_summary(error))


def _summary(error: BaseException) -> str:
    # The type only: the text may hold a body, and a reason is shown in logs and metrics.
    return type(error).__qualname__
