"""The host's Settlement service over real gRPC on loopback, with its faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import grpc

from tests.hosts.azure_functions.protocol import settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SETTLES = {"Complete": "completed", "Abandon": "abandoned", "Deadletter": "dead-lettered"}


class SettlementService:
    """Settles messages of the invocation that is under way, by lock token.

    `calls` are all that came, in their order. Faults: `lock_lost` has tokens of which the broker
    knows nothing any more; while `hold` is not set no call is answered; `refuse` says for a call
    whether it is refused.
    """

    def __init__(self, *, methods: Iterable[str] | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.dead_letters: dict[str, tuple[str, str]] = {}
        self.fates: dict[str, str] = {}
        self.known: set[str] = set()
        self.lock_lost: set[str] = set()
        self.refuse: Callable[[str, str], bool] = lambda method, token: False
        self.hold = Event()
        self.hold.set()
        self.called = Event()
        self.most_at_once = 0
        self._under_way = 0
        self._lock = Lock()
        names = set(vars(settlement)) - {"StringValue"} if methods is None else set(methods)
        self._server = grpc.server(ThreadPoolExecutor(16))
        handlers = {name: self._handler(name) for name in names}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("Settlement", handlers),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def begin(self, tokens: Iterable[str]) -> None:
        """An invocation starts: these messages are in the host's cache."""
        self.known = set(tokens)
        self.fates = {}

    def end(self) -> None:
        """The invocation is over, and so is the cache."""
        self.known = set()

    def stop(self) -> None:
        """End the service."""
        self.hold.set()
        self._server.stop(None).wait()

    def _handler(self, name: str) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                self._under_way += 1
                self.most_at_once = max(self.most_at_once, self._under_way)
            try:
                return self._answer(name, request, context)
            finally:
                with self._lock:
                    self._under_way -= 1

        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(self, name: str, data: bytes, context: grpc.ServicerContext) -> bytes:
        request = getattr(settlement, name).FromString(data)
        key = getattr(request, "locktoken", "") or getattr(request, "session_id", "")
        with self._lock:
            self.calls.append((name, key))
        self.called.set()
        self.hold.wait(20)
        if self.refuse(name, key):
            context.abort(grpc.StatusCode.UNKNOWN, "The service is busy.\nat Host.Code")
        if "Session" not in name:
            self._settle(name, key, request, context)
        return b""

    def _settle(self, name: str, token: str, request: Any, context: grpc.ServicerContext) -> None:
        if token not in self.known:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"LockToken {token} not found.")
        if token in self.lock_lost:
            context.abort(
                grpc.StatusCode.UNKNOWN,
                "Exception was thrown by handler. ServiceBusException: The lock supplied is "
                "invalid. (MessageLockLost)",
            )
        if name in _SETTLES:
            self.fates[token] = _SETTLES[name]
        if name == "Deadletter":
            self.dead_letters[token] = (
                request.deadletter_reason.value,
                request.deadletter_error_description.value,
            )
