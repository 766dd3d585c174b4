"""Sends to one Service Bus queue or topic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.clouds.azure import CALL_SECONDS
from queue_runtime.config import redact
from queue_runtime.errors import (
    AccessDeniedError,
    MessageTooLargeError,
    QueueNotFoundError,
    QueueRuntimeError,
    TransportError,
)
from queue_runtime.transports.base import SendFailure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from concurrent.futures import Future

    from queue_runtime.transports.base import OutgoingMessage

Clients: TypeAlias = "Callable[[], Any]"

_INT32: Final = 2**31
_INT64: Final = 2**63
_LONGEST_TEXT: Final = 200


class ServiceBusSender:
    """Sends from any thread, over one connection that lives on a thread and event loop of its own.

    The SDK's client belongs to one loop, and its blocking twin can wait for ever on a peer that is
    silent; here every send ends within `seconds`.

    Args:
        entity: the queue's or topic's name.
        make_client: makes the SDK's asyncio client, when the first message is sent.
        seconds: how long a send may take, connecting included.
    """

    def __init__(self, entity: str, make_client: Clients, *, seconds: float = CALL_SECONDS) -> None:
        self.entity = entity
        self._make_client = make_client
        self._seconds = seconds
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._client: Any = None
        self._sender: Any = None

    def send_now(self, messages: Sequence[OutgoingMessage]) -> list[SendFailure]:
        """Send messages one by one, waiting for it; never from an event loop."""
        return self._start(self._send(messages)).result()

    async def send(self, messages: Sequence[OutgoingMessage]) -> list[SendFailure]:
        """Send messages one by one, in their order."""
        from asyncio import wrap_future

        return await wrap_future(self._start(self._send(messages)))

    def close(self) -> None:
        """Release connection and thread; a later send makes them again."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            from asyncio import run_coroutine_threadsafe

            run_coroutine_threadsafe(self._drop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _start(self, work: Any) -> Future[list[SendFailure]]:
        from asyncio import new_event_loop, run_coroutine_threadsafe

        with self._lock:
            if self._loop is None:
                self._loop = new_event_loop()
                # A daemon: at the end of the process nothing is under way that is not lost anyway.
                self._thread = Thread(
                    target=_run, args=(self._loop,), name="service-bus", daemon=True
                )
                self._thread.start()
            return run_coroutine_threadsafe(work, self._loop)

    async def _send(self, messages: Sequence[OutgoingMessage]) -> list[SendFailure]:
        failures = []
        for position, message in enumerate(messages):
            error = await self._attempt(message)
            if error is not None:
                failures.append(SendFailure(position, error))
        return failures

    async def _attempt(self, message: OutgoingMessage) -> TransportError | None:
        kept = self._sender is not None
        try:
            try:
                await self._in_time(self._send_one(message))
            except Exception as error:
                await self._drop()
                # Service Bus ends a link that was idle for ten minutes, which shows here only.
                if not kept or not _is_of_connection(error):
                    raise
                await self._in_time(self._send_one(message))
        except Exception as error:
            return _translated(error, self.entity)
        return None

    async def _send_one(self, message: OutgoingMessage) -> None:
        if self._sender is None:
            self._client = self._make_client()
            self._sender = self._client.get_queue_sender(self.entity)
        await self._sender.send_messages(service_bus_message(message))

    async def _in_time(self, work: Awaitable[None]) -> None:
        from asyncio import wait_for

        await wait_for(work, self._seconds)

    async def _drop(self) -> None:
        client, self._client, self._sender = self._client, None, None
        if client is None:
            return
        from contextlib import suppress

        with suppress(Exception):  # it is given up because it does not work
            await self._in_time(client.close())


def service_bus_message(message: OutgoingMessage) -> Any:
    """Build the SDK's message."""
    from azure.servicebus import ServiceBusMessage

    due = datetime.now(UTC) + timedelta(seconds=message.delay) if message.delay else None
    return ServiceBusMessage(
        message.body,
        application_properties=_sendable(message.attributes),
        session_id=message.group_id,
        message_id=message.deduplication_id,
        correlation_id=message.correlation_id,
        scheduled_enqueue_time_utc=due,
        **message.native,
    )


def _sendable(attributes: Mapping[str, Any]) -> dict[str | bytes, Any]:
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Any:
    if isinstance(value, bool | float | bytes | str) or value is None:
        return value
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        # The SDK takes every int for an AMQP int of 32 bits, unless it is told.
        short = -_INT32 <= value < _INT32
        return value if short else {"TYPE": "LONG", "VALUE": value}
    from json import dumps

    return dumps(value, default=str)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
    finally:
        loop.close()


async def _end_tasks() -> None:
    # The SDK's keep-alive tasks outlive their connection by a second.
    from asyncio import all_tasks, current_task, gather

    left = [task for task in all_tasks() if task is not current_task()]
    for task in left:
        task.cancel()
    await gather(*left, return_exceptions=True)


def _is_of_connection(error: Exception) -> bool:
    from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusConnectionError

    return isinstance(error, ServiceBusConnectionError | OperationTimeoutError | TimeoutError)


def _translated(error: Exception, entity: str) -> TransportError:
    if isinstance(error, QueueRuntimeError):
        return error if isinstance(error, TransportError) else TransportError(str(error))
    from azure.servicebus import exceptions

    kinds: dict[type[Exception], type[TransportError]] = {
        exceptions.MessagingEntityNotFoundError: QueueNotFoundError,
        exceptions.ServiceBusAuthenticationError: AccessDeniedError,
        exceptions.ServiceBusAuthorizationError: AccessDeniedError,
        exceptions.MessageSizeExceededError: MessageTooLargeError,
    }
    kind = next((ours for sdk, ours in kinds.items() if isinstance(error, sdk)), TransportError)
    text = redact(str(error)).partition("\n")[0][:_LONGEST_TEXT]
    return kind(f"{entity}: {type(error).__name__}: {text}" if text else f"{entity}: no answer")
