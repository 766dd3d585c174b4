"""A bad day of the shop in a few minutes: real pollers, a producer, and what befalls them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from queue_runtime.config import load_settings
from queue_runtime.errors import TransportError
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage
from scripts.dashboard_picture.panels import ROOT
from scripts.dashboard_picture.prometheus import free_port
from scripts.dashboard_picture.shop import (
    FOLDER_VARIABLE,
    INVOICES,
    LEDGER_IS_DOWN,
    ORDERS,
    Order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

SECONDS = 210
CLAIMS, QUEUES = "claims.sqlite3", "queues"
_TICK = 0.1
_ORDERS_A_SECOND = 25
_SHOP = "scripts.dashboard_picture.shop"
_SETTINGS = {
    "QUEUE_CONCURRENCY": "3",
    "QUEUE_IN_FLIGHT": "40",
    "QUEUE_VISIBILITY_TIMEOUT_SECONDS": "8",
    "QUEUE_RETRY_BACKOFF_MS": "2000",
    "QUEUE_BREAKER_FAILURES": "5",
    "QUEUE_BREAKER_SECONDS": "6",
    "QUEUE_IDEMPOTENCY_STORE": f"sqlite:///{CLAIMS}",
}


_SECRET_SECONDS = 20 * 86_400


class Event(NamedTuple):
    """What befalls the shop, from one second of the day to another."""

    start: float
    end: float
    what: str

    def lasts(self, now: float) -> bool:
        """Tell whether it is under way."""
        return self.start <= now < self.end


RUSH = Event(15, 40, "three times as many orders as usual")
BAD_RELEASE = Event(65, 80, "one order in eight is wrong")
LEDGER_DOWN = Event(95, 113, "what the handler needs is down")
STANDSTILL = Event(120, 130, "one poller stands still")
NO_CLAIMS = Event(150, 160, "the idempotency store cannot be written")
NO_QUEUES = Event(182, 194, "the queues cannot be written")
EVENTS = (RUSH, BAD_RELEASE, LEDGER_DOWN, STANDSTILL, NO_CLAIMS, NO_QUEUES)


def _signed(ends: float) -> str:
    signature = f"SharedAccessSignature sr=shop&sig=none&se={int(ends)}&skn=poll"
    return f"Endpoint=sb://shop.example/;SharedAccessSignature={signature}"


class Shop:
    """Two pollers of two queues, in processes of their own.

    Args:
        folder: where queues and claims are; may be removed afterwards.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.environment: Mapping[str, str] = {
            **os.environ,
            **_SETTINGS,
            "QUEUE_LOCAL_DIRECTORY": str(folder / QUEUES),
            # Of no use to a local queue, and its end is watched all the same.
            "AZURE_SERVICE_BUS_CONNECTION_STRING": _signed(time.time() + _SECRET_SECONDS),
            "PYTHONPATH": str(ROOT),
            FOLDER_VARIABLE: str(folder),
        }
        self._pollers: list[subprocess.Popen[bytes]] = []
        self._locks: list[sqlite3.Connection] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Have the pollers run."""
        try:
            self._pollers = [self._poller(port) for port in self.ports]
            yield
        finally:
            for poller in self._pollers:
                poller.kill()
                poller.wait()
            self._lock([], locked=False)

    def ledger_is_down(self, down: bool) -> None:
        """Have what the handler of orders needs fail, or work again."""
        sign = self.folder / LEDGER_IS_DOWN
        if down:
            sign.touch()
        else:
            sign.unlink()

    def stand_still(self, still: bool) -> None:
        """Have the first poller do nothing at all, as where a machine is frozen, or go on."""
        self._pollers[0].send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def claims_are_locked(self, locked: bool) -> None:
        """Keep everybody from writing what is done, or let them."""
        self._lock([self.folder / CLAIMS], locked)

    def queues_are_locked(self, locked: bool) -> None:
        """Keep everybody from writing queues, or let them."""
        self._lock((self.folder / QUEUES).iterdir(), locked)

    def _lock(self, files: Iterable[Path], locked: bool) -> None:
        while self._locks:
            self._locks.pop().close()
        if locked:
            self._locks = [_locked(file) for file in files if file.suffix == ".sqlite3"]

    def _poller(self, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            [sys.executable, "-m", "queue_runtime.cli", "poll", "--quiet",
             f"{_SHOP}:take_order", f"{_SHOP}:send_invoice", "--queue", ORDERS, "--queue", INVOICES,
             "--health-port", str(port)],
            cwd=self.folder, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


async def spend(shop: Shop) -> None:
    """Send orders at the pace of the day, and let everything befall the shop that is to."""
    started = time.monotonic()
    await asyncio.gather(
        _send_orders(shop, started),
        _befall(LEDGER_DOWN, started, shop.ledger_is_down),
        _befall(STANDSTILL, started, shop.stand_still),
        _befall(NO_CLAIMS, started, shop.claims_are_locked),
        _befall(NO_QUEUES, started, shop.queues_are_locked),
        _tell(started),
    )


async def _befall(event: Event, started: float, change: Callable[[bool], None]) -> None:
    await asyncio.sleep(started + event.start - time.monotonic())
    change(True)
    await asyncio.sleep(started + event.end - time.monotonic())
    change(False)


async def _tell(started: float) -> None:
    while (now := time.monotonic() - started) < SECONDS:
        under_way = [event.what for event in EVENTS if event.lasts(now)]
        print(f"{now:4.0f} of {SECONDS} s", *under_way, sep="  ", flush=True)
        await asyncio.sleep(10)


async def _send_orders(shop: Shop, started: float) -> None:
    chance = random.Random(1)  # noqa: S311 - the same orders each time, and no secret
    transport = open_transport(ORDERS, settings=load_settings(environ=shop.environment))
    due = 0.0
    while (now := time.monotonic() - started) < SECONDS:
        due += _TICK * _ORDERS_A_SECOND * (3 if RUSH.lasts(now) else 1)
        orders = [_order(chance, now) for _ in range(int(due))]
        due -= len(orders)
        with suppress(TransportError):  # an outage, on purpose
            await transport.send(
                [OutgoingMessage(body=order.model_dump_json()) for order in orders]
            )
        await asyncio.sleep(_TICK)
    await transport.aclose()


def _order(chance: random.Random, now: float) -> Order:
    return Order(
        id=f"order-{chance.getrandbits(48):012x}",
        customer=f"customer-{chance.randrange(20)}",
        seconds=chance.lognormvariate(-2.5, 0.5),
        wrong=chance.random() < (0.125 if BAD_RELEASE.lasts(now) else 0.01),
        busy=chance.random() < 0.04,
        twice=chance.random() < 0.03,
    )


def _locked(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection
