"""An idempotent handler behind the Lambda host, its store's clock in the test's hand."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from queue_runtime import Idempotency, Message, queue_handler
from queue_runtime.idempotency.stores.memory import MemoryStore
from tests.lambda_rig import Clock, Invocation, Rig, Sqs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.idempotency.store import Claim, Found, IdempotencyStore


AnswerT = TypeVar("AnswerT")


class RealTime(Clock):
    """What claims' lengths are counted by: the deadline's clock and the locks' are one."""

    def __call__(self) -> float:
        return monotonic()


class Watched:
    """A store that writes down its calls, and can fail before or after it took effect."""

    def __init__(self, store: IdempotencyStore) -> None:
        self.store = store
        self.calls: list[str] = []
        self.lengths: list[float] = []
        self.fail: dict[str, list[str]] = {}

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        self.lengths.append(seconds)
        return self._call("claim", lambda: self.store.claim(claims, owner, seconds))

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        self._call("extend", lambda: self.store.extend(claims, owner, seconds))

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        return self._call("commit", lambda: self.store.commit(claims, owner, retention))

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        self._call("release", lambda: self.store.release(claims, owner))

    def close(self) -> None:
        self.store.close()

    def _call(self, name: str, call: Callable[[], AnswerT]) -> AnswerT:
        self.calls.append(name)
        failures = self.fail.get(name, [])
        failure = failures.pop(0) if failures else ""
        if failure == "before":
            raise ConnectionError("the store is away")
        answer = call()
        if failure == "after":
            raise ConnectionError("the reply was lost")
        return answer


class Shop:
    """A handler that takes orders, and everything that a test wants to see of it.

    `does` is called by the handler with the body, and may raise.
    """

    def __init__(self, *, key: Any = None, is_async: bool = False, **options: Any) -> None:
        self.clock = Clock()
        self.store = Watched(MemoryStore(clock=self.clock))
        self.ran: list[Any] = []
        self.does: Callable[[Any], None] = lambda body: None
        self.options = options
        self.handler = self._make(key, is_async)
        self.rig = self.host()

    def host(self, sqs: Sqs | None = None) -> Rig:
        """Open one more host, as another sandbox would be."""
        return Rig(self.handler, clock=RealTime(), sqs=sqs, max_deliveries=3)

    def __call__(self, *records: dict[str, Any], seconds: float = 30.0) -> Invocation:
        return self.rig(*records, seconds=seconds)

    def _make(self, key: Any, is_async: bool) -> Any:
        idempotency = Idempotency(key=key, store=self.store, **self.options)
        if is_async:

            @queue_handler(idempotency=idempotency)
            async def take_order_async(message: Message[dict[str, Any]]) -> None:
                self._take(message)

            return take_order_async

        @queue_handler(idempotency=idempotency)
        def take_order(message: Message[dict[str, Any]]) -> None:
            self._take(message)

        return take_order

    def _take(self, message: Message[dict[str, Any]]) -> None:
        self.ran.append(message.body.get("id", message.id))
        self.does(message.body)
