"""Lets claims live as long as the work that they stand for, where locks are renewed."""

from __future__ import annotations

from math import inf
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.idempotency.store import Claim
    from queue_runtime.message import Message

# For hosts that do not say how long they hold a message.
UNKNOWN_SECONDS: Final = 60.0
# Even the last instant of a lock is worth a claim that can be made and read.
_SHORTEST_SECONDS: Final = 1.0
_LOOK_AT: Final = 0.25
_SHORTEST_PAUSE: Final = 0.1
_LINGER_SECONDS: Final = 10.0


def seconds_left(messages: Sequence[Message[Any]], now: float) -> float:
    """Give for how long claims on these messages are to be made: as long as all are held."""
    ends = min([message.locked_until for message in messages], default=inf)
    return UNKNOWN_SECONDS if ends == inf else max(ends - now, _SHORTEST_SECONDS)


class Holding:
    """The claims of one delivery while its messages are worked on."""

    __slots__ = ("claims", "look_at", "messages", "owner", "until")

    def __init__(
        self,
        messages: Sequence[Message[Any]],
        claims: Sequence[Claim],
        owner: str,
        now: float,
        seconds: float,
    ) -> None:
        self.messages, self.claims, self.owner = messages, claims, owner
        self.last(now, seconds)

    def last(self, now: float, seconds: float) -> None:
        """Note until when the claims are made, and when to look whether that is still enough."""
        self.until = now + seconds
        self.look_at = now + seconds * _LOOK_AT


class ClaimKeeper:
    """Extends claims whose message's lock was renewed, from a thread that lives while it is needed.

    A claim whose extension fails ends when it was going to: its owner notices at the commit.

    Args:
        extend: the store's.
        failed: told of an extension that failed, and for which messages.
        clock: the one that `Message.locked_until` is by.
    """

    def __init__(
        self,
        extend: Callable[[Sequence[Claim], str, float], None],
        failed: Callable[[Sequence[Message[Any]], Exception], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._extend = extend
        self._failed = failed
        self._clock = clock
        self._held: dict[int, Holding] = {}
        self._changed = Condition()
        self._thread: Thread | None = None
        self._wakes_at = inf

    def hold(self, holding: Holding) -> None:
        """Begin to look after the claims of a delivery."""
        with self._changed:
            self._held[id(holding)] = holding
            if self._thread is None:
                self._thread = Thread(target=self._run, name="queue-runtime-claims", daemon=True)
                self._thread.start()
            elif holding.look_at < self._wakes_at:
                self._changed.notify()

    def drop(self, holding: Holding) -> None:
        """End it: what is not extended any more ends by itself."""
        with self._changed:
            self._held.pop(id(holding), None)

    def sweep(self) -> None:
        """Extend what has to be."""
        now = self._clock()
        with self._changed:
            due = [each for each in self._held.values() if each.look_at <= now]
        for holding in due:
            # Where there is nothing to extend yet, or no luck, a part of what is left may pass.
            holding.look_at = now + max((holding.until - now) * _LOOK_AT, _SHORTEST_PAUSE)
            self._keep(holding, now)

    def _keep(self, holding: Holding, now: float) -> None:
        renewed = [
            at
            for at, message in enumerate(holding.messages)
            if message.locked_until > max(holding.until, now)
        ]
        if not renewed:
            return
        messages = [holding.messages[at] for at in renewed]
        seconds = seconds_left(messages, now)
        try:
            self._extend([holding.claims[at] for at in renewed], holding.owner, seconds)
        except Exception as error:
            self._failed(messages, error)
        else:
            holding.last(now, seconds)

    def _run(self) -> None:
        while True:
            self.sweep()
            with self._changed:
                looks = min((each.look_at for each in self._held.values()), default=inf)
                self._wakes_at = looks
                self._changed.wait(min(max(looks - self._clock(), 0.0), _LINGER_SECONDS))
                if looks == inf and not self._held:
                    self._thread = None
                    return
