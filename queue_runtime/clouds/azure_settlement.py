"""A client of the Functions host's own Settlement service, which settles single messages.

The host serves it on the address that its worker talks to, in plain text on loopback, and only for
messages of an invocation that is under way. Requests are four fields long at most, so they are
encoded here; grpcio is imported on the first call, and nothing else is needed.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from queue_runtime.config import redact
from queue_runtime.errors import LockLostError, MissingExtraError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Of every call, a batch's calls all being sent at once.
CALL_SECONDS: Final = 10.0
_LONGEST_TEXT: Final = 200


class Call(NamedTuple):
    """One request: the service's method and the encoded message."""

    method: str
    request: bytes


# A lock token that belongs to no message. The service refuses it, which proves that it is there.
NO_MESSAGE: Final = "00000000-0000-0000-0000-000000000000"


class Settles(Protocol):
    """Carries out settlement calls: the host's service, or a test's own."""

    def call(self, calls: Sequence[Call], /) -> list[TransportError | None]:
        """Make all calls, together, and give for each the error, or None where it was done."""


class SettlementMissingError(TransportError):
    """Raised where no Settlement service is there; its text names the cause."""


def complete(lock_token: str) -> Call:
    """Acknowledge a message."""
    return Call("Complete", _text(1, lock_token))


def abandon(lock_token: str) -> Call:
    """Give a message back at once; its delivery count goes up."""
    return Call("Abandon", _text(1, lock_token))


def dead_letter(lock_token: str, reason: str, description: str) -> Call:
    """Move a message to the queue's dead-letter sub-queue."""
    request = _text(1, lock_token) + _field(3, _text(1, reason)) + _field(4, _text(1, description))
    return Call("Deadletter", request)


def renew_message(lock_token: str) -> Call:
    """Lock a message for another lock duration."""
    return Call("RenewMessageLock", _text(1, lock_token))


def renew_session(session_id: str) -> Call:
    """Lock a session for another lock duration."""
    return Call("RenewSessionLock", _text(1, session_id))


def release_session(session_id: str) -> Call:
    """Release a session, so that its unsettled messages come back with the same delivery counts."""
    return Call("ReleaseSession", _text(1, session_id))


class SettlementClient:
    """Makes settlement calls; any number of threads may share one.

    Args:
        find_address: gives `host:port`, or raises; called on the first use.
        seconds: how long a call may take.
    """

    def __init__(
        self, find_address: Callable[[], str] | None = None, *, seconds: float = CALL_SECONDS
    ) -> None:
        self._find_address = find_address or host_address
        self._seconds = seconds
        self._lock = Lock()
        self._channel: Any = None
        self._methods: dict[str, Any] = {}
        self._missing: SettlementMissingError | None = None
        self._unimplemented: dict[str, SettlementMissingError] = {}

    def call(self, calls: Sequence[Call]) -> list[TransportError | None]:
        """Send all calls before the first answer is waited for."""
        if self._missing is not None:
            return [self._missing] * len(calls)
        unknown = [self._unimplemented.get(name) for name, _ in calls]
        if any(unknown):
            return self._known_ones(calls, unknown)
        try:
            methods = [self._method(name) for name, _ in calls]
        except SettlementMissingError as missing:
            self._missing = missing  # neither an address nor a library appears later
            return [missing] * len(calls)
        if len(calls) == 1:
            return [self._one(methods[0], calls[0])]
        started = [
            method.future(call.request, timeout=self._seconds)
            for method, call in zip(methods, calls, strict=True)
        ]
        return [
            self._answer(future.exception(), call)
            for future, call in zip(started, calls, strict=True)
        ]

    def close(self) -> None:
        """End the connection; the next call makes another."""
        with self._lock:
            channel, self._channel = self._channel, None
            self._methods.clear()
        if channel is not None:
            channel.close()

    def _known_ones(
        self, calls: Sequence[Call], unknown: Sequence[SettlementMissingError | None]
    ) -> list[TransportError | None]:
        known = [call for call, error in zip(calls, unknown, strict=True) if error is None]
        answers = iter(self.call(known) if known else ())
        return [error or next(answers) for error in unknown]

    def _one(self, method: Any, call: Call) -> TransportError | None:
        from grpc import RpcError

        try:
            method(call.request, timeout=self._seconds)
        except RpcError as error:
            return self._answer(error, call)
        return None

    def _method(self, name: str) -> Any:
        method = self._methods.get(name)
        if method is None:
            with self._lock:
                if self._channel is None:
                    self._channel = _open_channel(self._find_address())
                method = self._channel.unary_unary(f"/Settlement/{name}")
                self._methods[name] = method
        return method

    def _answer(self, error: Any, call: Call) -> TransportError | None:
        if error is None:
            return None
        from grpc import StatusCode

        code = error.code()
        text = f"{code.name}: {redact(error.details() or '').partition(chr(10))[0][:_LONGEST_TEXT]}"
        if code is StatusCode.UNIMPLEMENTED:
            # Each by itself: older extensions have the service without renewals and sessions.
            self._unimplemented[call.method] = SettlementMissingError(
                f"the host's Service Bus extension has no Settlement service with {call.method}: "
                "use extension bundle [4.*, 5.0.0) in host.json"
            )
            return self._unimplemented[call.method]
        if code is StatusCode.UNAVAILABLE:
            return SettlementMissingError(f"the host does not answer at its own address ({text})")
        lost = code is StatusCode.FAILED_PRECONDITION or "LockLost" in text
        return LockLostError(text) if lost else TransportError(text)


def host_address() -> str:
    """Find the worker's address in the arguments that the host started this process with.

    Raises:
        SettlementMissingError: this process was not started by a Functions host.
    """
    for arguments in (sys.argv, _command_line()):
        address = address_of(arguments)
        if address:
            return address
    raise SettlementMissingError(
        "this process was not started by a Functions host: it has no --functions-uri"
    )


def address_of(arguments: Sequence[str]) -> str | None:
    """Give `host:port` from `--functions-uri`, or from the older `--host` and `--port`."""
    uri = _value(arguments, "--functions-uri")
    if uri:
        return urlsplit(uri).netloc or None
    host, port = _value(arguments, "--host"), _value(arguments, "--port")
    return f"{host}:{port}" if host and port else None


def _value(arguments: Sequence[str], name: str) -> str | None:
    for at, argument in enumerate(arguments):
        if argument == name and at + 1 < len(arguments):
            return arguments[at + 1]
        if argument.startswith(f"{name}="):
            return argument[len(name) + 1 :]
    return None


def _command_line() -> list[str]:
    # An embedded interpreter has a bare sys.argv, but the process has the host's arguments.
    try:
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def _open_channel(address: str) -> Any:
    try:
        import grpc
    except ImportError:
        raise SettlementMissingError(
            str(MissingExtraError("settling single messages", "functions"))
        ) from None
    # A proxy of the environment's has no business between two processes of one machine.
    return grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),))


def _text(field: int, value: str) -> bytes:
    # A reason may quote half of a surrogate pair from a body, which UTF-8 has no form for.
    return _field(field, value.encode(errors="backslashreplace"))


def _field(field: int, data: bytes) -> bytes:
    length = len(data)
    if length < 0x80:  # a lock token, mostly
        return bytes((field << 3 | 2, length)) + data
    return bytes((field << 3 | 2,)) + _varint(length) + data


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
