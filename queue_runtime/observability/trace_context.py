"""Reads where a message comes from, in each of the ways in which producers write it down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from queue_runtime.errors import BodyDecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from queue_runtime.message import Message

# https://www.w3.org/TR/trace-context/#traceparent-header; version ff is forbidden, later ones may
# have more fields.
_W3C: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII
)
# Printable ASCII (https://www.w3.org/TR/trace-context/#tracestate-header), of which 512 characters
# have to be passed on at least.
_STATE: Final = re.compile(r"[\x20-\x7e]{1,4096}", re.ASCII)
_XRAY: Final = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})", re.ASCII)
_XRAY_PARENT: Final = re.compile(r"Parent=([0-9a-f]{16})", re.ASCII)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)


def creation_contexts(message: Message[Any]) -> tuple[SpanContext, ...]:
    """Give the producer's span: W3C first, and what X-Ray says of it where that is another one.

    Attributes that cannot be read say nothing: a producer's mistake costs its trace, no message.
    """
    native = message.native
    try:
        as_sent = isinstance(native, dict) and not message.opened
        read = _of_sqs(native) if as_sent else message.attributes
    except BodyDecodeError:
        return ()
    # Older Azure SDKs write Diagnostic-Id, with the same content.
    text = read.get("traceparent") or read.get("Diagnostic-Id")
    first = w3c_context(_text(text), _text(read.get("tracestate"))) if text else None
    header = _aws_header(native)
    second = xray_context(header) if header else None
    if first is None or second is None:
        only = first or second
        return () if only is None else (only,)
    return (first,) if first.trace_id == second.trace_id else (first, second)


def _of_sqs(native: dict[str, Any]) -> Mapping[str, Any]:
    # As they are: to decode all attributes for one of them would cost more than the rest of it.
    return native.get("messageAttributes") or native.get("MessageAttributes") or {}


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("stringValue") or value.get("StringValue")
    return value


def w3c_context(text: object, state: object = None) -> SpanContext | None:
    """Read a `traceparent`, with the `tracestate` beside it; None where it is not one."""
    match = _W3C.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    trace, span, flags = match.groups()
    context = SpanContext(
        int(trace, 16),
        int(span, 16),
        True,
        _SAMPLED if int(flags, 16) & 1 else _NOT_SAMPLED,
        TraceState.from_header([state]) if _is_state(state) else None,
    )
    return context if context.is_valid else None


def _is_state(state: object) -> TypeGuard[str]:
    # What OpenTelemetry cannot read of it, it logs whole.
    return isinstance(state, str) and _STATE.fullmatch(state) is not None


def xray_context(header: str) -> SpanContext | None:
    """Read an `AWSTraceHeader`; None where it names no span."""
    root, parent = _XRAY.search(header), _XRAY_PARENT.search(header)
    if root is None or parent is None:
        return None
    flags = _SAMPLED if "Sampled=1" in header else _NOT_SAMPLED
    context = SpanContext(int("".join(root.groups()), 16), int(parent[1], 16), True, flags)
    return context if context.is_valid else None


def traceparent(context: SpanContext) -> str:
    """Write a span down for W3C."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def xray_header(context: SpanContext) -> str:
    """Write a span down for X-Ray."""
    trace = f"{context.trace_id:032x}"
    sampled = 1 if context.trace_flags & TraceFlags.SAMPLED else 0
    return f"Root=1-{trace[:8]}-{trace[8:]};Parent={context.span_id:016x};Sampled={sampled}"


def _aws_header(native: Any) -> str | None:
    if not isinstance(native, dict):
        return None
    system = native.get("attributes") or native.get("Attributes")
    header = system.get("AWSTraceHeader") if isinstance(system, dict) else None
    return header if isinstance(header, str) else None
