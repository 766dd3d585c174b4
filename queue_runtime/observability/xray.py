"""Records subsegments with the X-Ray SDK, for functions that are not on OpenTelemetry yet.

AWS maintains that SDK until 25 February 2027 and then no more
(https://docs.aws.amazon.com/xray/latest/devguide/xray-daemon-eos.html). X-Ray itself stays, and
takes OpenTelemetry's spans: the way off is `tracing="otel"` and an exporter for them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from queue_runtime.errors import MissingExtraError
from queue_runtime.outcome import ACK, Signal
from queue_runtime.printable import bounded, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


class XRay:
    """A subsegment for each call of the handler, below the segment that Lambda makes.

    Nothing is patched. A sync handler's own subsegments are children of its message's. Calls of an
    async handler overlap, and the SDK keeps one stack for all of them
    (https://github.com/aws/aws-xray-sdk-python/issues/164): theirs never go onto it.

    Args:
        recorder: the SDK's.
        is_async: whether calls overlap.
    """

    def __init__(self, recorder: Any, *, is_async: bool) -> None:
        self._recorder = recorder
        self._is_async = is_async

    def serve(self, queue: str) -> None:
        """Nothing is recorded but calls."""

    def begin(self, message: Message[Any]) -> Any:
        """Open a message's subsegment."""
        opened = self._open(f"process {message.queue}")
        if opened is not None:
            opened.put_annotation("message_id", printable(message.id))
            opened.put_annotation("delivery_count", bounded(message.delivery_count))
        return opened

    def begin_batch(self, messages: Sequence[Message[Any]]) -> Any:
        """Open a batch handler's subsegment."""
        opened = self._open(f"process {messages[0].queue}")
        if opened is not None:
            opened.put_annotation("messages", len(messages))
        return opened

    def end(self, begun: Any, outcomes: Sequence[Outcome]) -> None:
        """Close a subsegment; of an error its type is told, and not its text."""
        failed = next((each for each in outcomes if each is not ACK), None)
        if failed is not None:
            begun.put_annotation("disposition", str(failed.disposition))
            if failed.error is not None and not isinstance(failed.error, Signal):
                begun.put_annotation("error_type", type(failed.error).__qualname__)
                begun.add_fault_flag()
        if not outcomes:
            begun.add_fault_flag()
        if not self._is_async:
            self._recorder.end_subsegment()
            return
        begun.close()
        if begun.sampled:
            self._recorder.emitter.send_entity(begun)

    def begin_delivery(
        self, queue: str, messages: Sequence[Message[Any]], within: object, own_span: bool
    ) -> None:
        """The invocation's own segment is the delivery's."""

    def end_delivery(self, begun: None, messages: Sequence[Message[Any]], error: str) -> None:
        """Lambda closes it."""

    def _open(self, name: str) -> Any:
        if not self._is_async:
            return self._recorder.begin_subsegment(name)
        from aws_xray_sdk.core.models.subsegment import Subsegment

        parent = self._recorder.get_trace_entity()
        if parent is None:
            return None
        opened = Subsegment(name, "local", getattr(parent, "parent_segment", parent))
        opened.parent_id, opened.sampled = parent.id, parent.sampled
        return opened


def xray_spans(*, is_async: bool) -> XRay | None:
    """Make what records subsegments; None outside Lambda, where there is nothing to record to.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    if "LAMBDA_TASK_ROOT" not in os.environ:
        return None
    try:
        from aws_xray_sdk.core import xray_recorder
    except ImportError:
        raise MissingExtraError("tracing with the X-Ray SDK", "xray") from None
    return XRay(xray_recorder, is_async=is_async)
