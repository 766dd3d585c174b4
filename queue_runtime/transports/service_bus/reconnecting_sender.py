"""The sending half of a Service Bus connection, kept up on the loop that it belongs to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.errors import AccessDeniedError
from queue_runtime.transports.service_bus.errors import is_of_connection, translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ResultT = TypeVar("ResultT")
Clients: TypeAlias = "Callable[[], Any]"

UNCHANGING: Final = ServiceBusConnection()


class ReconnectingSender:
    """The SDK's sender, made when it is first needed and again when it broke.

    Args:
        entity: the queue's or topic's name.
        make_client: makes the SDK's asyncio client.
        seconds: how long one request may take, connecting included.
        connection: what it connects by, where a key of it may be read again.
    """

    def __init__(
        self,
        entity: str,
        make_client: Clients,
        *,
        seconds: float,
        connection: ServiceBusConnection = UNCHANGING,
    ) -> None:
        self.entity = entity
        self._make_client = make_client
        self._connection = connection
        self._seconds = seconds
        self._client: Any = None
        self._sender: Any = None

    async def call(self, work: Callable[[Any], Awaitable[ResultT]]) -> ResultT:
        """Make one call on the SDK's sender, twice if its connection had ended meanwhile.

        Raises:
            TransportError: it cannot be done now.
        """
        tried: set[str] = set()
        while True:
            kept, version = self._sender is not None, self._connection.version
            try:
                return await asyncio.wait_for(work(self._opened()), self._seconds)
            except Exception as error:
                await self.close()
                reason = await self._reason_for_another(error, kept, version)
                if not reason or reason in tried:
                    raise translated(error, self.entity, sending=True) from None
                tried.add(reason)

    async def _reason_for_another(self, error: Exception, kept: bool, version: int) -> str:
        # Service Bus ends a link that was idle for ten minutes, which shows here only.
        if kept and is_of_connection(error):
            return "the connection had ended"
        refused = isinstance(translated(error, self.entity), AccessDeniedError)
        return "there is another key" if refused and await self._connection.renewed(version) else ""

    async def close(self) -> None:
        """Let go of the connection; a later call makes another."""
        client, self._client, self._sender = self._client, None, None
        if client is not None:
            with suppress(Exception):  # it is given up, and mostly because it does not work
                await asyncio.wait_for(client.close(), self._seconds)

    def _opened(self) -> Any:
        if self._sender is None:
            self._client = self._make_client()
            self._sender = self._client.get_queue_sender(self.entity)
        return self._sender
