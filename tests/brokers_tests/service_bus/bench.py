"""The real SDK's sync and aio clients behind one blocking face, so that a test is written once."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.servicebus import ServiceBusClient
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

if TYPE_CHECKING:
    from tests.brokers.service_bus import ServiceBusBroker

FLAVOURS = ("sync", "aio")


class Driven:
    """An SDK object whose coroutines are run to their end when called."""

    def __init__(self, target: Any, runner: asyncio.Runner | None, opening: Any = None) -> None:
        self.target = target
        self._runner = runner
        self._opening = opening

    def __getattr__(self, name: str) -> Any:
        if name == "session":
            self._wait_until_open()
            return Driven(self.target.session, self._runner)
        value = getattr(self.target, name)
        return functools.partial(self._call, value) if callable(value) else value

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self._wait_until_open()
        result = function(*args, **kwargs)
        if self._runner and inspect.isawaitable(result):
            return self._runner.run(_await(result))
        return result

    def _wait_until_open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            _ = self._runner.run(_await(opening)) if self._runner else opening.result()

    def names(self, paged: Any) -> list[str]:
        """What a paged listing yields."""
        return self._runner.run(_collect(paged)) if self._runner else list(paged)


class Bench:
    """One broker and one client; links stay open until the end, when they close all at once."""

    def __init__(self, flavour: str, broker: ServiceBusBroker) -> None:
        self.broker = broker
        self._runner = asyncio.Runner() if flavour == "aio" else None
        self._numbers = itertools.count(1)
        self._links: list[Driven] = []
        self._pool = ThreadPoolExecutor(max_workers=32)
        self.client = self.client_for(broker.connection_string)

    def client_for(self, connection_string: str, **options: Any) -> Driven:
        kind: Any = AsyncServiceBusClient if self._runner else ServiceBusClient
        chosen = {"retry_total": 0, "try_timeout": 5.0, **options}
        return Driven(kind.from_connection_string(connection_string, **chosen), self._runner)

    def run(self, coroutine: Any) -> None:
        """For what must happen while the aio client's loop runs."""
        if self._runner:
            self._runner.run(coroutine)

    def later(self, seconds: float) -> datetime:
        """A time as the broker's clock will show it."""
        now = datetime.fromtimestamp(self.broker.clock.now(), UTC)
        return now + timedelta(seconds=seconds)

    def queue(self, **options: Any) -> str:
        name = f"queue-{next(self._numbers)}"
        self.broker.create_queue(name, **options)
        return name

    def topic(self, *subscriptions: str, **options: Any) -> str:
        name = f"topic-{next(self._numbers)}"
        self.broker.create_topic(name)
        for subscription in subscriptions:
            self.broker.create_subscription(name, subscription, **options)
        return name

    def sender(self, name: str, client: Driven | None = None, **options: Any) -> Driven:
        target = (client or self.client).target
        return self._link(target.get_queue_sender(name, **options))

    def pair(self, name: str, **options: Any) -> tuple[Driven, Driven]:
        """A sender and a receiver that open side by side."""
        return self.sender(name), self.receiver(name, **options)

    def topic_sender(self, name: str) -> Driven:
        return self._link(self.client.target.get_topic_sender(name))

    def receiver(self, name: str, client: Driven | None = None, **options: Any) -> Driven:
        target = (client or self.client).target
        return self._link(target.get_queue_receiver(name, **options))

    def subscription_receiver(self, topic: str, name: str, **options: Any) -> Driven:
        target = self.client.target
        return self._link(target.get_subscription_receiver(topic, name, **options))

    def close(self) -> None:
        """Closing one link takes the SDK half a second, closing all at once hardly more."""
        self._close_links()
        self._pool.shutdown()
        self._links.clear()
        collect_leaks()

    def _close_links(self) -> None:
        if self._runner:
            self._runner.run(_close_all([link.target for link in self._links]))
            self._runner.run(self.client.target.close())
            self._runner.close()
            return
        list(self._pool.map(lambda link: link.target.close(), self._links))
        self.client.close()

    def _link(self, target: Any) -> Driven:
        """Starts to open the link: that takes the SDK half a second, two at once hardly more."""
        if self._runner:
            opening: Any = self._runner.get_loop().create_task(target.__aenter__())
        else:
            opening = self._pool.submit(target.__enter__)
        link = Driven(target, self._runner, opening)
        self._links.append(link)
        return link


def collect_leaks() -> None:
    """The SDK forgets sockets of connections that failed; they must not warn in another's test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def _await(result: Any) -> Any:
    return await result


async def _collect(paged: Any) -> list[str]:
    return [name async for name in paged]


async def _close_all(targets: list[Any]) -> None:
    await asyncio.gather(*(target.close() for target in targets), return_exceptions=True)
