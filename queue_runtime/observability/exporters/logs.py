"""Log lines as JSON, where every line about a message says which, the handler's own lines too."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.message import Message
from queue_runtime.observability.events import events
from queue_runtime.observability.log_lines import FIELDS, fields
from queue_runtime.printable import printable

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
    "_frame_type",  # of Lambda's own handler
}
# In JSON that is in order, a reader of lines may still see an end in these, or nothing at all.
_UNFIT: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Characters; what collects lines cuts longer ones, and half of an object is none. In such a line
# each value is cut by itself.
_LONGEST: Final = 200_000
_MOST_VALUES: Final = 50
_LONGEST_NAME: Final = 100
# At DEBUG an SDK writes its requests and answers whole, with bodies, receipts and session tokens.
_SDK_SECONDS: Final = 60.0
SDKS: Final = ("azure", "boto3", "botocore", "grpc", "msal", "urllib3")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with `null` for a field that a message does not have.

    A line about a message, ours or written inside a handler, has all of queue_name, message_id,
    session_id, correlation_id, operation and delivery_count. Values of `extra=` are kept by name;
    what is not JSON is written as text. Within a span its trace_id and span_id are there too.
    Whatever is logged, a line is one line of JSON that can be read and stored as UTF-8.

    Args:
        end: of each line, where the handler writes none.
        frames: mark records as JSON for Lambda's log channel, as its own formatter does.
    """

    def __init__(self, end: str = "", *, frames: bool = False) -> None:
        super().__init__()
        self._end = end
        self._frames = frames

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line: dict[str, Any] = {
            "timestamp": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **_about(record),
            **_further(record),
            **_span(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = record.stack_info
        if self._frames:
            record._frame_type = _frame_type(record.levelno)
        return _UNFIT.sub(_escaped, _as_json(line)) + self._end


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


class SdkLines(logging.Filter):
    """Keeps back warnings and errors of the SDKs, and says once a minute how many those were.

    An SDK calls each broken connection an error, up to ten times a second, where it is repeated by
    us and said in a line of ours.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line passes."""
        sdk = record.name.partition(".")[0]
        if record.levelno < logging.WARNING or sdk not in SDKS:
            return True
        now, count = self._clock(), self._counts.get(sdk, 0) + 1
        self._counts[sdk] = count
        if now - self._said.get(sdk, -_SDK_SECONDS) >= _SDK_SECONDS:
            self._said[sdk], self._counts[sdk] = now, 0
            text = "%d lines of the SDK's loggers %s.* were kept back, the last at %s; they are "
            text += "written with --log-level debug"
            events.warning(None, "sdk", text, count, sdk, record.levelname)
        return False


def keep_sdks_quiet() -> None:
    """Have SdkLines before all handlers, but where the root logger is at DEBUG."""
    root = logging.getLogger()
    for handler in root.handlers if root.level > logging.DEBUG else ():
        if not any(isinstance(each, SdkLines) for each in handler.filters):
            handler.addFilter(SdkLines())


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
        handler.setFormatter(_formatter_for(handler))
        for old in [each for each in handler.filters if isinstance(each, InfoSampler)]:
            handler.removeFilter(old)
        if info_lines:
            handler.addFilter(InfoSampler(info_lines))
    events.watching = events.binding = True


def log_as_text(level: int | str) -> None:
    """Write all log lines of the process to stderr, for a person."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        handlers=[ToStderr()],
    )
    set_level(level)


class ToStderr(logging.Handler):
    """Writes to what stderr is now: while a live table is drawn, that puts lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def set_level(level: int | str) -> None:
    """Set the root logger's level, which no SDK's loggers follow below INFO.

    A logger whose own level is set keeps that.
    """
    root = logging.getLogger()
    root.setLevel(level)
    if root.level < logging.INFO:
        for sdk in map(logging.getLogger, SDKS):
            sdk.setLevel(sdk.level or logging.INFO)


def _formatter_for(handler: logging.Handler) -> JsonFormatter:
    # The handlers of Lambda's runtime write a text as it is, and their formatters end it; where
    # there is no framed channel (its emulator, Managed Instances) lines would become one.
    if not type(handler).__name__.startswith("LambdaLoggerHandler"):
        return JsonFormatter()
    own = handler.formatter
    if isinstance(own, JsonFormatter):  # asked for twice
        return own
    return JsonFormatter("\n", frames=type(own).__name__ == "JsonFormatter")


def _frame_type(level: int) -> bytes:
    """Give what awslambdaric's lambda_runtime_log_utils has for JSON of a level."""
    step = min(50, max(0, level)) // 10
    return (0xA55A0002 + (4 * (step + 1) if step else 0)).to_bytes(4, "big")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a line whose arguments do not fit its format is still a line
        return f"{_as_text(record.msg)} {_as_text(record.args)}"


def _as_json(line: dict[str, Any]) -> str:
    try:
        text = _dumps(line)
    except Exception:  # NaN, a key that is no text, a circle, an integer of 4,300 digits
        text = _dumps({_as_text(name): _plain(value) for name, value in line.items()})
    if len(text) <= _LONGEST:
        return text
    most = islice(line.items(), _MOST_VALUES)
    return _dumps({printable(name, _LONGEST_NAME): printable(value) for name, value in most})


def _dumps(value: object) -> str:
    return json.dumps(
        value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_as_text
    )


def _plain(value: object) -> object:
    try:
        _dumps(value)
    except Exception:
        return _as_text(value)
    return value


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # JSON can escape half of a surrogate pair, and then its readers cannot store the text.
    return f"\\\\u{code:04x}" if code >= 0xD800 else f"\\u{code:04x}"


def _about(record: logging.LogRecord) -> dict[str, Any]:
    said = vars(record)
    if "message_id" in said or "delivery_count" in said:
        return {name: said.get(name) for name in FIELDS}
    running = RUNNING.get()
    if running is None:
        return {name: said[name] for name in FIELDS if name in said}
    if isinstance(running, Message):
        about = fields(running, "process")
    else:
        about = {**dict.fromkeys(FIELDS), "queue_name": running[0].queue, "operation": "process"}
        about["message_count"] = len(running)
    return {**about, **{name: said[name] for name in FIELDS if said.get(name) is not None}}


def _further(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _OF_LOGGING and name not in FIELDS
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
