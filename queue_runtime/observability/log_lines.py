"""Writes every log line of the package: with the same fields, fit to be shown, and safely."""

from __future__ import annotations

from functools import wraps
from logging import DEBUG, ERROR, INFO, WARNING, addLevelName, getLogger
from threading import local
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

from queue_runtime.errors import BodyDecodeError, QueueRuntimeError
from queue_runtime.message import Message
from queue_runtime.observability import metrics
from queue_runtime.printable import bounded, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import LogRecord

GuardedT = TypeVar("GuardedT", bound=type)
CallT = ParamSpec("CallT")
ResultT = TypeVar("ResultT")
# A message, several of them, a queue's name, or nothing of the kind.
Subject: TypeAlias = "Message[Any] | Sequence[Message[Any]] | str | None"

FIELDS: Final = (
    "queue_name",
    "message_id",
    "session_id",
    "correlation_id",
    "operation",
    "delivery_count",
)
# Below DEBUG: each step inside of an operation.
TRACE: Final = 5
addLevelName(TRACE, "TRACE")

_MOST_CAUSES: Final = 3
_MOST_FRAMES: Final = 12
# Of a line about several messages: so many are named, each in so many characters.
_MOST_NAMED: Final = 10
_NAMED_LENGTH: Final = 128

# Private, so that no line goes around the methods below; ruff refuses a logger elsewhere.
_logger: Final = getLogger("queue_runtime")
is_logged: Final = _logger.isEnabledFor


class _Thread(local):
    """Keeps the lines of one thread, where they are not written at once."""

    kept: list[LogRecord] | None = None


_thread: Final = _Thread()


def guarded(cls: GuardedT) -> GuardedT:
    """Decorate a class so that no public method raises: an error is counted as `log:<type>`.

    A method that is marked `safe` takes care of that itself, where a wrapper would cost too much.
    """
    for name, method in list(vars(cls).items()):
        public = not name.startswith("_") or name == "__init__"
        if public and callable(method) and not hasattr(method, "is_safe"):
            setattr(cls, name, _guard(method))
    return cls


def safe(method: Callable[CallT, ResultT]) -> Callable[CallT, ResultT]:
    """Mark a method whose own code catches whatever it meets."""
    method.is_safe = True  # type: ignore[attr-defined]
    return method


def _guard(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: object, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except Exception as error:  # what only tells must not change what happens
            count_lost(arguments[0] if arguments else None, error)

    return call


def count_lost(about: object, error: Exception) -> None:
    """Count a line that could not be written: its handler, a filter, or a field of it raised."""
    first = about[0] if isinstance(about, list | tuple) and about else about
    queue = first if isinstance(first, str) else getattr(first, "queue", "")
    metrics.ERRORS.add(1, str(queue), f"log:{type(error).__name__}")


def fields(message: Message[Any], operation: str) -> dict[str, Any]:
    """Give the six fields that every log line about a message carries; never raises."""
    return {
        "queue_name": printable(message.queue),
        "message_id": _field(message, "id"),
        "session_id": _field(message, "group_id"),
        "correlation_id": _field(message, "correlation_id"),
        "operation": operation,
        "delivery_count": _field(message, "delivery_count"),
    }


def _field(message: Message[Any], name: str) -> Any:
    # Read from what a producer sent, which may be readable by nobody.
    try:
        value = getattr(message, name)
    except Exception as error:
        return f"<{type(error).__name__}>"
    if isinstance(value, int):
        return bounded(value)
    return None if value is None else printable(value)


def stack(error: BaseException) -> list[str]:
    """Give where an error came from, innermost first, without its text, which may hold a body.

    Poison has none: a place in our own decoder would help no reader.
    """
    if isinstance(error, BodyDecodeError):
        return []
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return [printable(frame) for frame in frames[: -_MOST_FRAMES - 1 : -1]]


def causes(error: BaseException) -> list[str]:
    """Give type and place of what an error came from, nearest first, without any text."""
    found: list[str] = []
    seen = {id(error)}
    while len(found) < _MOST_CAUSES:
        hidden = error.__suppress_context__
        cause = error.__cause__ or (None if hidden else error.__context__)
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        place = stack(cause)[:1]
        found.append(" at ".join([printable(type(cause).__qualname__), *place]))
        error = cause
    return found


@guarded
class LogLines:
    """The one way to a log line; each has the six fields, and none can raise.

    The methods take what a line is about, the operation, and a %-format with its arguments. About a
    message the line begins with "message <id> of <queue> ", about several with their number; about
    a queue the format names it. Arguments are escaped and cut. An exception among them is shown by
    its type, or by its text where that is ours. `raised` adds type and place of an error.
    """

    def trace(self, about: Subject, operation: str, text: str, *arguments: object) -> None:
        """Write of a step inside of an operation."""
        self._write(TRACE, about, operation, text, arguments)

    def debug(self, about: Subject, operation: str, text: str, *arguments: object) -> None:
        """Write of configuration, connections and what is a provider's own."""
        self._write(DEBUG, about, operation, text, arguments)

    def info(
        self, about: Subject, operation: str, text: str, *arguments: object, **extra: object
    ) -> None:
        """Write of what goes as it should."""
        self._write(INFO, about, operation, text, arguments, extra=extra)

    def warning(
        self,
        about: Subject,
        operation: str,
        text: str,
        *arguments: object,
        raised: BaseException | None = None,
    ) -> None:
        """Write of what will be tried again, or is done in a lesser way."""
        self._write(WARNING, about, operation, text, arguments, raised)

    def error(
        self,
        about: Subject,
        operation: str,
        text: str,
        *arguments: object,
        raised: BaseException | None = None,
    ) -> None:
        """Write of what cannot be mended without a person."""
        self._write(ERROR, about, operation, text, arguments, raised)

    def observe(self, about: Subject, observe: Callable[..., object], *arguments: object) -> None:
        """Call an observer of the user's; one that raises costs a line and nothing else."""
        try:
            observe(*arguments)
        except Exception as error:
            self._write(ERROR, about, "observe", _OBSERVER, (error,), error)

    def _write(
        self,
        level: int,
        about: Subject,
        operation: str,
        text: str,
        arguments: tuple[object, ...],
        raised: BaseException | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if not _logger.isEnabledFor(level):
            return
        try:
            begin, named, line = _about(about, operation)
            line |= extra or {}
            values = [*named, *map(_shown, arguments)]
            if raised is not None:
                line["error_type"] = type(raised).__qualname__
                line["stack"] = stack(raised)
                if line["stack"]:
                    because = causes(raised)
                    text += f" (at %s{'; because of %s' * len(because)})"
                    values += [line["stack"][0], *because]
            name, text = _logger.name, begin + text
            _handle(
                _logger.makeRecord(name, level, __file__, 0, text, tuple(values), None, extra=line)
            )
        except Exception as error:
            count_lost(about, error)


_OBSERVER: Final = "shown to an observer that raised %s"


class HeldLines:
    """Lines from another thread, kept until the thread that waits for it can write them.

    The Functions worker for Python 3.11 and 3.12 finds a line's invocation by the thread or task
    that writes it, and the host drops a line without one
    (https://github.com/Azure/azure-functions-python-worker/issues/1158).
    """

    def __init__(self) -> None:
        self._records: list[LogRecord] = []

    def run(
        self, work: Callable[CallT, ResultT], *arguments: CallT.args, **named: CallT.kwargs
    ) -> ResultT:
        """Call something on the other thread, and keep what it writes."""
        _thread.kept = self._records
        try:
            return work(*arguments, **named)
        finally:
            _thread.kept = None

    def write(self) -> None:
        """Write what has been kept, with the time at which it was said."""
        kept = self._records.copy()
        self._records.clear()
        for record in kept:
            _handle(record)


def _about(about: Subject, operation: str) -> tuple[str, tuple[object, ...], dict[str, Any]]:
    """Give how a line begins, what that names, and the line's fields."""
    if about is None or isinstance(about, str):
        queue = None if about is None else printable(about)
        return "", (), {**dict.fromkeys(FIELDS), "queue_name": queue, "operation": operation}
    if isinstance(about, Message) or len(about) == 1:
        message = about if isinstance(about, Message) else about[0]
        line = fields(message, operation)
        return "message %s of %s ", (line["message_id"], line["queue_name"]), line
    queue = printable(about[0].queue) if about else None
    line = {**dict.fromkeys(FIELDS), "queue_name": queue, "operation": operation}
    line["message_count"] = len(about)
    ids = [_field(message, "id") for message in about[:_MOST_NAMED]]
    line["message_ids"] = [printable(identity, _NAMED_LENGTH) for identity in ids]
    return "%d messages of %s ", (len(about), queue), line


def _shown(argument: object) -> object:
    if isinstance(argument, int):
        return bounded(argument)
    if isinstance(argument, float):
        return argument
    if isinstance(argument, BaseException) and not isinstance(argument, QueueRuntimeError):
        return type(argument).__qualname__
    return printable(argument)


def _handle(record: LogRecord) -> None:
    if _thread.kept is not None:
        _thread.kept.append(record)
        return
    try:
        _logger.handle(record)
    except Exception as error:  # a handler or filter of the user's
        count_lost(vars(record).get("queue_name"), error)
