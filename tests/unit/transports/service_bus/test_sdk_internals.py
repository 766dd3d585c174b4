"""A private name of the SDK may go with any release: one sentence is logged, no message is lost."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.aio import ReceiveClientAsync
from azure.servicebus._pyamqp.aio._receiver_async import ReceiverLink
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.aio._transport._pyamqp_transport_async import PyamqpTransportAsync

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.errors import LockLostError
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.testing.conformance.rig import acknowledged, steps
from queue_runtime.transports import service_bus
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus import sdk_internals
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.sdk_internals import MESSAGE_NAME, NAMES, PrivateName
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers_tests.service_bus.bench import collect_leaks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PATIENCE_SECONDS = 45.0
BACK = Outcome(Disposition.RETRY)
OWNERS: dict[str, type] = {
    "receiver": ServiceBusReceiver,
    "transport": PyamqpTransportAsync,
    "client": ReceiveClientAsync,
    "link": ReceiverLink,
    "message": ServiceBusReceivedMessage,
}
# The names that matter to what follows a broken connection, and to a session: each takes seconds.
OF_BROKEN_CONNECTIONS = ("_open", "_create_handler", "_handler", "_is_deferred_message")
OF_SESSIONS = ("_running", "_handler")
EACH_NAME = pytest.mark.parametrize("private", [*NAMES, MESSAGE_NAME], ids=lambda each: each.name)


class Gone:
    """An attribute that the SDK's own modules go on to see, and ours do not."""

    def __init__(self, owner: type, name: str) -> None:
        self._name = name
        self._original = inspect.getattr_static(owner, name, None)

    def __get__(self, instance: Any, owner: type) -> Any:
        self._refuse_ours()
        if instance is not None and self._name in vars(instance):
            return vars(instance)[self._name]
        if self._original is None:
            raise AttributeError(self._name)
        return self._original.__get__(instance, owner)

    def __set__(self, instance: Any, value: Any) -> None:
        self._refuse_ours()
        vars(instance)[self._name] = value

    def _refuse_ours(self) -> None:
        if sys._getframe(2).f_globals["__name__"].startswith("queue_runtime."):
            raise AttributeError(self._name)


@pytest.fixture(scope="module")
def broker() -> Iterator[ServiceBusBroker]:
    with ServiceBusBroker() as running:
        yield running
    collect_leaks()


@pytest.fixture
def queue(broker: ServiceBusBroker, private: PrivateName, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(events, "_said", set())
    remove(private, monkeypatch)
    return f"without{private.name}"


def remove(private: PrivateName, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = OWNERS[private.owner]
    monkeypatch.setattr(owner, private.name, Gone(owner, private.name), raising=False)


def opened(broker: ServiceBusBroker, path: str) -> ServiceBusTransport:
    connection = ServiceBusConnection(Secret(broker.connection_string))
    return ServiceBusTransport(read_address(f"servicebus://b/{path}"), connection)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            await work

    asyncio.run(main())


async def send(transport: ServiceBusTransport, *bodies: str, group: str | None = None) -> None:
    sent = [OutgoingMessage(body=each, group_id=group, deduplication_id=each) for each in bodies]
    assert not refused(await transport.send(sent))


async def take(transport: ServiceBusTransport, count: int) -> dict[str, Any]:
    """Receive until so many messages are held."""
    held: dict[str, Any] = {}
    while len(held) < count:
        lot = await transport.receive(count - len(held), PATIENCE_SECONDS)
        held |= {message.id: message for message in lot}
    return held


@EACH_NAME
def test_no_message_is_lost_or_stays_locked_without_a_name(
    broker: ServiceBusBroker, private: PrivateName, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue(queue)

    async def work() -> None:
        transport = opened(broker, queue)
        await send(transport, "done", "back", "kept")
        held = await take(transport, 3)
        waiting = asyncio.create_task(transport.receive(10, PATIENCE_SECONDS))
        settled = steps(transport, [(held["done"], ACK), (held["back"], BACK)])
        assert not await transport.settle(settled)
        (again,) = await waiting
        assert (again.id, again.delivery_count) == ("back", 2)
        given_up = asyncio.create_task(transport.receive(10, PATIENCE_SECONDS))
        await send(transport, "late")
        given_up.cancel()
        await asyncio.wait([given_up])
        late = [] if given_up.cancelled() else given_up.result()
        if private.name in OF_BROKEN_CONNECTIONS:
            broker.drop_connections()
        kept = steps(transport, [(held["kept"], ACK), *((each, BACK) for each in late)])
        failures = await transport.settle(kept)
        if any(not isinstance(failure.error, LockLostError) for failure in failures):
            failures = await transport.settle(kept)  # over the next connection
        lost = [failure.message.id for failure in failures]
        assert lost == ([each.message.id for each in kept] if private is MESSAGE_NAME else [])
        await transport.aclose()
        # A message that is held by nobody is free; the others come back when their locks end.
        there = {each.message_id: each.locked for each in broker.messages(queue)}
        if private.name in ("_amqp_transport", "reset_link_credit_async"):
            # Without these the service may lock it for nobody, until the lock ends.
            there["late"] = "late" in lost
        assert there == {"back": True, "late": "late" in lost} | dict.fromkeys(lost, True)

    run(work())
    sentences = [
        each.getMessage() for each in caplog.records if "servicebus has no" in each.getMessage()
    ]
    assert len(sentences) == 1
    assert f"has no {private.name}: {private.without}" in sentences[0]


@pytest.mark.parametrize(
    "private", [each for each in NAMES if each.name in OF_SESSIONS], ids=lambda each: each.name
)
def test_a_session_goes_to_the_next_receiver_without_a_name(
    broker: ServiceBusBroker, private: PrivateName, queue: str
) -> None:
    broker.create_queue(f"{queue}-carts", requires_session=True)

    async def work() -> None:
        transport, other = (opened(broker, f"{queue}-carts?sessions=true") for _ in range(2))
        await send(transport, "one", "two", group="cart")
        held = await take(transport, 1)
        assert not await transport.settle(acknowledged(transport, held.values()))
        held = await take(transport, 1)
        broker.drop_connections()
        failures = await transport.renew([*held.values()])
        assert [failure.message for failure in failures] == [*held.values()]
        again = await take(other, 1)
        assert list(again) == ["two"]
        assert not await other.settle(acknowledged(other, again.values()))
        assert broker.messages(f"{queue}-carts") == []
        await asyncio.gather(transport.aclose(), other.aclose())

    run(work())


def test_an_sdk_that_has_all_names_is_not_spoken_of(
    broker: ServiceBusBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue("complete")

    async def work() -> None:
        transport = opened(broker, "complete")
        await transport.receive(1, 0)
        await transport.aclose()

    run(work())
    assert "servicebus has no" not in caplog.text


def test_several_missing_names_are_told_in_one_sentence(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "_said", set())
    for private in NAMES:
        remove(private, monkeypatch)
    broker.create_queue("bare")

    async def work() -> None:
        transport = opened(broker, "bare")
        await send(transport, "a")
        (message,) = (await take(transport, 1)).values()
        assert not await transport.settle(acknowledged(transport, [message]))
        await transport.aclose()

    run(work())
    assert broker.messages("bare") == []
    (sentence,) = [
        each.getMessage() for each in caplog.records if "servicebus has no" in each.getMessage()
    ]
    assert all(each.name in sentence for each in NAMES if each.owner == "receiver")
    assert "azure-servicebus==7.15.*" in sentence


# --- the only place ------------------------------------------------------------------------------

PRIVATE = re.compile(r"(?<!self)(?<!\bcls)\.(_[a-z]\w*)|[\"'](_[a-z]\w*)[\"']")


def names_in(path: Path) -> set[str]:
    text = re.sub(r"__slots__ = (\([^)]*\)|.*)", "", path.read_text())
    return {attribute or literal for attribute, literal in PRIVATE.findall(text)} - {"_replace"}


def test_private_names_are_used_in_one_module_and_each_is_looked_for() -> None:
    here = Path(sdk_internals.__file__)
    modules = Path(service_bus.__file__).parent.glob("*.py")
    assert [
        (path.name, names_in(path)) for path in modules if path != here and names_in(path)
    ] == []
    public = {"do_work_async", "current_link_credit", "reset_link_credit_async"}
    assert names_in(here) == {each.name for each in (*NAMES, MESSAGE_NAME)} - public
