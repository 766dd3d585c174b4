"""A host in as few lines as it takes: an endpoint to which a service posts batches of messages.

The body is a JSON array of `{"id", "body", "deliveries", "group"}`; the answer says of each message
whether it is done, or after how many seconds it is to be sent again. All between decoding and
answering is `PushDelivery`.
"""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import TYPE_CHECKING, Any

from queue_runtime.dispatch import Deadline
from queue_runtime.hosts.delivery import Arrival, PushDelivery
from queue_runtime.message import Message
from queue_runtime.outcome import Disposition
from queue_runtime.settlement.plan import Abilities, Action

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.message import DeadLetterRecord
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Step


class PostedWire:
    """Reads one object of the posted array."""

    def id(self, raw: Any) -> str:
        return str(raw["id"])

    def broker_id(self, raw: Any) -> str:
        return str(raw["id"])

    def payload(self, raw: Any) -> str:
        return str(raw["body"])

    def attributes(self, raw: Any) -> Mapping[str, Any]:
        return {}

    def group_id(self, raw: Any) -> str | None:
        group: str | None = raw.get("group")
        return group

    def correlation_id(self, raw: Any) -> str | None:
        return None

    def delivery_count(self, raw: Any) -> int:
        return int(raw.get("deliveries", 1))

    def enqueued_at(self, raw: Any) -> datetime | None:
        return None

    def receipt(self, raw: Any) -> Any:
        return None

    def dead_letter(self, raw: Any) -> DeadLetterRecord | None:
        return None


class Answers:
    """Settles by the answer; dead letters are kept here."""

    abilities = Abilities()
    acknowledges = False

    def __init__(self) -> None:
        self.dead: dict[str, str] = {}

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        for step in steps:
            if step.action is Action.DEAD_LETTER and step.facts is not None:
                self.dead[step.message.id] = step.facts.within(1_000)
        return []


class ToyHost:
    """Runs a handler on what is posted."""

    def __init__(
        self, handler: Handles, settings: Settings | None = None, *, ordered: bool = False
    ) -> None:
        self.delivery = PushDelivery(handler, settings=settings, host="lambda", system="toy")
        self.answers = Answers()
        self._ordered = ordered

    def post(self, body: str, seconds: float = 30.0) -> str:
        """Answer one request, which may take so many seconds."""
        raws = json.loads(body)
        if not raws:
            return "[]"
        messages = [Message[Any](raw, PostedWire(), "toy") for raw in raws]
        arrival = Arrival("toy", Deadline(monotonic() + seconds), ordered=self._ordered)
        outcomes = asyncio.run(self.delivery.process(messages, arrival, self.answers))
        return json.dumps(
            [
                {"id": message.id, "again": outcome.delay}
                if outcome.disposition is Disposition.RETRY
                else {"id": message.id, "done": True}
                for message, outcome in zip(messages, outcomes, strict=True)
            ]
        )
