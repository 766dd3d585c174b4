"""Answers requests: meets the faults, runs the call, spells replies and errors as JSON."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.brokers.sqs.api import Waiting
from tests.brokers.sqs.errors import SqsError
from tests.brokers.sqs.faults import Cut, Fail, Faults, Plan, Throttle
from tests.brokers.sqs.fields import Fields, parse
from tests.brokers.sqs.http import Request, Response
from tests.brokers.sqs.journal import Event, Journal, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.brokers.sqs.api import Api

_TARGET = "AmazonSQS."


class Service:
    """One request in, one reply out; what has to wait is given back as an awaitable."""

    def __init__(
        self, api: Api, faults: Faults, journal: Journal, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._request_ids = count(1)

    def respond(self, request: Request) -> Response | Awaitable[Response | None] | None:
        """The reply, an awaitable of it, or None to hang up without one."""
        try:
            call = _call_name(request)
            self._api.check_name(call)
            fields = parse(request.body)
            queue = _queue_name(fields)
        except SqsError as error:
            return self._error(error)
        self._journal.record(Event(self._clock(), Kind.CALL, queue, "", call))
        plan = self._faults.plan(call, queue)
        if plan.delay:
            return self._respond_later(call, queue, fields, plan)
        return self._run(call, queue, fields, plan)

    async def _respond_later(
        self, call: str, queue: str, fields: Fields, plan: Plan
    ) -> Response | None:
        await asyncio.sleep(plan.delay)
        reply = self._run(call, queue, fields, plan)
        return reply if reply is None or isinstance(reply, Response) else await reply

    def _run(
        self, call: str, queue: str, fields: Fields, plan: Plan
    ) -> Response | Awaitable[Response | None] | None:
        if plan.ending:
            name = type(plan.ending).__name__
            self._journal.record(Event(self._clock(), Kind.FAULT, queue, "", f"{name}: {call}"))
        match plan.ending:
            case Cut(after_effect=False):
                return None
            case Cut():
                return self._execute(call, fields, lost=True)
            case Fail(code, status, message):
                return self._error(SqsError(code, message, status=status))
            case Throttle():
                return self._error(SqsError("RequestThrottled", "Rate exceeded.", status=403))
        return self._execute(call, fields, lost=False)

    def _execute(
        self, call: str, fields: Fields, *, lost: bool
    ) -> Response | Awaitable[Response | None] | None:
        try:
            reply = self._api.call(call, fields)
        except SqsError as error:
            response = self._error(error)
        else:
            if isinstance(reply, Waiting):
                return self._finish(reply, lost=lost)
            response = self._success(reply)
        return None if lost else response

    async def _finish(self, waiting: Waiting, *, lost: bool) -> Response | None:
        try:
            await waiting.future
            response = self._success(waiting.reply())
        except SqsError as error:
            response = self._error(error)
        return None if lost else response

    def _success(self, reply: dict[str, Any]) -> Response:
        return Response(200, json.dumps(reply).encode(), self._headers())

    def _error(self, error: SqsError) -> Response:
        body = {"__type": f"com.amazonaws.sqs#{error.shape}", "message": error.message}
        fault = "Sender" if error.sender_fault else "Receiver"
        query_error = f"x-amzn-query-error: {error.code};{fault}\r\n"
        return Response(error.status, json.dumps(body).encode(), self._headers() + query_error)

    def _headers(self) -> str:
        number = f"{next(self._request_ids):012x}"
        return (
            "Content-Type: application/x-amz-json-1.0\r\n"
            f"x-amzn-RequestId: 00000000-0000-4000-8000-{number}\r\n"
        )


def _call_name(request: Request) -> str:
    target = request.headers.get("x-amz-target", "")
    if request.method != "POST" or not target.startswith(_TARGET):
        raise SqsError(
            "UnknownOperationException",
            "Only POST with an x-amz-target of AmazonSQS.* is spoken here, not the query protocol.",
        )
    return target.removeprefix(_TARGET)


def _queue_name(fields: Fields) -> str:
    name = fields.text("QueueUrl").rpartition("/")[2] or fields.text("QueueName")
    return name[:80]  # no queue's name is longer, and the journal keeps what it is given
