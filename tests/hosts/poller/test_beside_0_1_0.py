"""During a rollout pollers of 0.1.0 and of this version work on one queue and one store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.shell import Shell, wait_until
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
OLD = ROOT / "tests/fixtures/v0_1_0/queue_runtime.zip"
ORDERS = 60
QUEUE = "local://orders"

# At its first order each poller waits for the other's, so that both work at the same time.
SHOP = """
import os, time
from queue_runtime import queue_handler

met = False

@queue_handler(idempotency_key="id")
def take_order(order: dict) -> None:
    global met
    if not met:
        open(f"met-{os.environ['VERSION']}", "w").close()
        ends = time.monotonic() + 30
        while not (os.path.exists("met-old") and os.path.exists("met-new")):
            assert time.monotonic() < ends, "the other poller has no order"
            time.sleep(0.005)
        met = True
    line = f"{order['id']} {os.environ['VERSION']}\\n"
    journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, line.encode())
    os.close(journal)
"""


class Rollout:
    """One folder with a queue, a store and a journal of what was done, by which version."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        (folder / "shop.py").write_text(SHOP)
        common = {
            "QUEUE_LOCAL_DIRECTORY": str(folder),
            "QUEUE_IDEMPOTENCY_STORE": store,
            "QUEUE_IN_FLIGHT": "4",  # so that there is work for both
        }
        self.old, self.new = Shell(folder), Shell(folder)
        for shell, package, version in ((self.old, OLD, "old"), (self.new, ROOT, "new")):
            shell.environ |= common
            shell.environ |= {"PYTHONPATH": f"{package}{os.pathsep}{folder}", "VERSION": version}

    def send(self, shell: Shell, orders: range) -> None:
        lines = "".join(f'{{"id": "order-{n}", "amount": {n}}}\n' for n in orders)
        sent = shell.run("send", "--queue", QUEUE, "--lines", "-", stdin=lines)
        assert sent.returncode == 0, sent.stderr

    @contextmanager
    def polled(self) -> Iterator[None]:
        """Run a poller of 0.1.0, and one of this version that begins while that works."""
        command = ("poll", "shop:take_order", "--queue", QUEUE)
        pollers = [self.old.start(*command)]
        try:
            wait_until((self.folder / "met-old").exists)
            pollers.append(self.new.start(*command))
            yield
            for poller in pollers:
                poller.send_signal(signal.SIGTERM)
            for poller in pollers:
                _, errors = poller.communicate(timeout=60)
                assert poller.returncode == 0, errors
        finally:
            for poller in pollers:
                poller.kill()
                poller.communicate()

    def done(self) -> list[tuple[str, str]]:
        journal = self.folder / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [(order, version) for order, version in (line.split() for line in lines)]

    def is_empty(self) -> bool:
        depth = self.new.depth(QUEUE)
        return depth.visible + depth.in_flight + depth.delayed == 0


@pytest.fixture(params=["sqlite", "redis"])
def rollout(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rollout]:
    folder = tmp_path / "shop"
    folder.mkdir()
    if request.param == "sqlite":
        yield Rollout(folder, "sqlite:///claims.db")
    else:
        with redis_server(tmp_path) as url:
            yield Rollout(folder, url)


def test_the_archive_is_0_1_0(tmp_path: Path) -> None:
    program = "import queue_runtime.idempotency.sqlite as module; print(module.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(OLD)}
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert str(OLD) in shown.stdout


def test_both_versions_share_a_queue_and_a_store_and_each_order_is_done_once(
    rollout: Rollout,
) -> None:
    half = ORDERS // 2
    rollout.send(rollout.old, range(half))  # which makes the file
    rollout.send(rollout.new, range(half, ORDERS))
    with rollout.polled():
        wait_until(lambda: len(rollout.done()) >= ORDERS and rollout.is_empty())
        # The same once more, most of it for the version that did not do it.
        rollout.send(rollout.new, range(half))
        rollout.send(rollout.old, range(half, ORDERS))
        wait_until(rollout.is_empty)
    done = rollout.done()
    assert sorted(order for order, _ in done) == sorted(f"order-{n}" for n in range(ORDERS))
    assert {version for _, version in done} == {"old", "new"}
    assert rollout.new.depth(f"{QUEUE}/dead-letter").visible == 0
