"""Finds the queue that a command is to work on, the same way for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.errors import QueueNotFoundError, SettingsError
from queue_runtime.transports import queue_url

if TYPE_CHECKING:
    from queue_runtime.config import Settings


def url_of(said: str | None, settings: Settings, whose: str = "") -> str:
    """Give the URL of the queue that was named, else of the settings' own.

    Raises:
        SettingsError: none is named.
        QueueNotFoundError: a bare name is, and no provider.
    """
    queue = said or settings.queue
    if not queue:
        decorator = ", or write @queue_handler(queue=...)" if whose else ""
        raise SettingsError(
            f"{f'{whose} has no queue' if whose else 'no queue is named'}: give --queue URL, set "
            f"QUEUE_NAME{decorator}"
        )
    return queue_url(queue, settings)


def refuse_memory(url: str, settings: Settings) -> None:
    """Refuse a local queue in memory, which would be gone with this process.

    Raises:
        SettingsError: the queue is in memory.
    """
    if url.startswith("local://"):
        from queue_runtime.transports.local.address import read_address

        if read_address(url, settings.local_directory).path is None:
            raise SettingsError(
                f"{url} is in the memory of one process, so what is sent there would be gone when "
                "this command ends: leave ?memory out"
            )


def refuse_missing(url: str, settings: Settings) -> None:
    """Refuse a local queue that is not there, which opening it would make.

    Raises:
        QueueNotFoundError: there is no such queue.
    """
    if not url.startswith("local://"):
        return
    from queue_runtime.transports.local.address import read_address

    address = read_address(url, settings.local_directory)
    if address.path is not None and not address.path.is_file():
        raise QueueNotFoundError(
            f"there is no local queue {address.name} in {address.path.parent}: correct the name, "
            "or QUEUE_LOCAL_DIRECTORY; the first send or poll makes it"
        )
