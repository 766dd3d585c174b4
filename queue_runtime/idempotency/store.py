"""What a store of idempotency claims has to do, so that no key's work is done twice at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, TypeAlias

    Clock: TypeAlias = Callable[[], float]


class Claim(NamedTuple):
    """One key to be claimed; `payload` is a text of digests of what came with it, or empty.

    A key starts with its scope (handler and queue) and a `#`. It can be encoded, and what follows
    the scope is 1 to 1,031 bytes long.
    """

    key: str
    payload: str = ""


class Found:
    """What a claim met.

    - `state`: "fresh" is ours now; "in progress" is another owner's; "done" needs no work any more.
    - `remaining`: seconds until another owner's claim ends.
    - `payload`: the digests that the work was done with.
    """

    __slots__ = ("payload", "remaining", "state")

    def __init__(
        self,
        state: Literal["fresh", "in progress", "done"],
        *,
        remaining: float = 0.0,
        payload: str = "",
    ) -> None:
        self.state = state
        self.remaining = remaining
        self.payload = payload

    def __repr__(self) -> str:
        return f"<Found {self.state}>"


FRESH: Final = Found("fresh")


def found(*, done: bool, remaining: float, payload: str) -> Found:
    """Describe a row that is another owner's and has not ended."""
    if done:
        return Found("done", payload=payload)
    return Found("in progress", remaining=remaining, payload=payload)


class IdempotencyStore(Protocol):
    """Rows by key, each with an owner, an end, and whether its work is done.

    Every call takes many keys, each only once, and may come from any thread. A call may have taken
    effect although it raised, so each can be repeated: an owner finds its own claim "fresh" and its
    own commit made. Nobody changes a row of another owner that has not ended.
    """

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Take each key that is absent, has ended or is already the owner's, until then."""

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Let the owner's unfinished claims end that many seconds from now."""

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark work as done, for `retention` seconds; False where another owner has the key.

        A row that is gone is written anew: the work was done all the same.
        """

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """Give up the owner's unfinished claims, so that the next delivery may run at once."""

    def close(self) -> None:
        """Let go of connections."""
