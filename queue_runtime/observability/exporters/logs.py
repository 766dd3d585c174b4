"""Log lines as JSON, where every line about a message says which, the handler's own lines too."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.message import Message
from queue_runtime.observability import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Running: TypeAlias = "Message[Any] | Sequence[Message[Any]] | None"

# What runs: one message, or all of a batch handler's.
RUNNING: Final[ContextVar[Running]] = ContextVar("queue_runtime_running", default=None)

_LOGGER: Final = "queue_runtime"
# What logging itself puts on a record; whatever else is there, somebody wanted to have logged.
_OF_LOGGING: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}
_FIELDS: Final = events.FIELDS
# At DEBUG an SDK writes its requests and answers whole, with bodies, receipts and session tokens.
SDKS: Final = ("azure", "boto3", "botocore", "grpc", "msal", "urllib3")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with `null` for a field that a message does not have.

    A line about a message, ours or written inside a handler, has all of queue_name, message_id,
    session_id, correlation_id, operation and delivery_count. Values of `extra=` are kept by name;
    what is not JSON is written as text. Within a span its trace_id and span_id are there too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line: dict[str, Any] = {
            "timestamp": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_about(record),
            **_further(record),
            **_span(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return json.dumps(line, separators=(",", ":"), ensure_ascii=False, default=_as_text)


class InfoSampler(logging.Filter):
    """Lets at most `most` INFO lines of ours through in a second, and says how many it left out.

    Lines of the handler's own, and all that is worse than INFO, always pass.
    """

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._ends = 0.0
        self._count = self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line passes."""
        if record.levelno > logging.INFO or not record.name.startswith(_LOGGER):
            return True
        now = self._clock()
        if now >= self._ends:
            self._ends, self._count = now + 1.0, 0
        self._count += 1
        if self._count > self._most:
            self._left_out += 1
            return False
        if self._left_out:
            record.lines_left_out, self._left_out = self._left_out, 0
        return True


def log_as_json(level: int | str | None = None, *, info_lines: int = 0) -> None:
    """Write all log lines of the process as JSON: to the host's handlers, or else to stderr.

    On Lambda and Azure Functions call it once, at the top of the module, or set QUEUE_LOGS=json.

    Args:
        level: of the root logger, as `set_level` takes it; None leaves it to a host that set
            handlers up, else it is INFO.
        info_lines: the most INFO lines about messages in a second; 0 writes them all.
    """
    root = logging.getLogger()
    if level is None and not root.handlers:
        level = logging.INFO
    if level is not None:
        set_level(level)
    if not root.handlers:
        root.addHandler(logging.StreamHandler(sys.stderr))
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter())
        for old in [each for each in handler.filters if isinstance(each, InfoSampler)]:
            handler.removeFilter(old)
        if info_lines:
            handler.addFilter(InfoSampler(info_lines))
    events.watching = events.binding = True


def set_level(level: int | str) -> None:
    """Set the root logger's level, which no SDK's loggers follow below INFO.

    A logger whose own level is set keeps that.
    """
    root = logging.getLogger()
    root.setLevel(level)
    if root.level < logging.INFO:
        for sdk in map(logging.getLogger, SDKS):
            sdk.setLevel(sdk.level or logging.INFO)


def _about(record: logging.LogRecord) -> dict[str, Any]:
    said = vars(record)
    if "message_id" in said or "delivery_count" in said:
        return {name: said.get(name) for name in _FIELDS}
    running = RUNNING.get()
    if running is None:
        return {name: said[name] for name in _FIELDS if name in said}
    if isinstance(running, Message):
        fields = events.fields(running, "process")
    else:
        fields = {**dict.fromkeys(_FIELDS), "queue_name": running[0].queue, "operation": "process"}
        fields["message_count"] = len(running)
    return {**fields, **{name: said[name] for name in _FIELDS if said.get(name) is not None}}


def _further(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _OF_LOGGING and name not in _FIELDS
    }


def _span() -> dict[str, str]:
    # Whoever has not loaded OpenTelemetry has no span.
    trace = sys.modules.get("opentelemetry.trace")
    context = trace.get_current_span().get_span_context() if trace else None
    if context is None or not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _time(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _as_text(value: object) -> str:
    if isinstance(value, Message):
        return repr(value)  # which shows no body
    try:
        return str(value)
    except Exception:  # a value that cannot be shown must not cost the line
        return f"<{type(value).__name__}>"
