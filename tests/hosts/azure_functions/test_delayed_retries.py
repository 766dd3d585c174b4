"""Delays by a scheduled copy, through the real SDK and a Service Bus broker in this process."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, Message, Retry, TransportError, queue_handler, register
from queue_runtime.clouds.azure import ServiceBusConnection, service_bus_client
from queue_runtime.config import Secret, load_settings
from queue_runtime.transports.base import OutgoingMessage, SendResult
from queue_runtime.transports.service_bus.sender import ServiceBusSender
from tests.brokers.service_bus import MessageState, ServiceBusBroker
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.hosts.azure_functions.encoding import Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import azure.functions as func

    from queue_runtime.hosts.azure_functions import FunctionsHost
    from tests.hosts.azure_functions.conftest import Hosts
    from tests.hosts.azure_functions.settlement_service import SettlementService

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


@queue_handler(queue="orders", max_deliveries=3)
def busy(message: Message[bytes]) -> None:
    raise Retry("busy", after=30)


@queue_handler(queue="orders", max_deliveries=3, delayed_retries=True)
def failing(message: Message[bytes]) -> None:
    raise ValueError("again")


@queue_handler(queue="orders", max_deliveries=3)
async def busy_batch(batch: Batch[bytes]) -> None:
    for message in batch:
        if message.body == b"busy":
            batch.fail(message, Retry("busy", after=30))
        elif message.body == b"bad":
            batch.fail(message, ValueError("bad"))


class Outbox:
    """Takes copies, or refuses them."""

    def __init__(self, *refused: bytes) -> None:
        self.sent: list[OutgoingMessage] = []
        self._refused = refused

    def send_now(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        results = []
        for message in messages:
            if message.body in self._refused:
                results.append(SendResult(error=TransportError("refused by the test")))
            else:
                results.append(SendResult())
                self.sent.append(message)
        return results


@pytest.fixture(scope="module")
def broker() -> Iterator[ServiceBusBroker]:
    with ServiceBusBroker() as running:
        running.create_queue("orders")
        yield running
    collect_leaks()


@pytest.fixture
def sender(broker: ServiceBusBroker) -> Iterator[Callable[[], ServiceBusSender]]:
    connection = ServiceBusConnection(Secret(broker.connection_string))
    made = ServiceBusSender("orders", lambda: service_bus_client(connection))
    yield lambda: made
    made.close()


def test_a_copy_keeps_everything_but_its_message_id(
    app: func.FunctionApp,
    host: Hosts,
    broker: ServiceBusBroker,
    sender: Callable[[], ServiceBusSender],
) -> None:
    register(app, busy, connection="SB", make_sender=sender)
    sent = Sent(
        b'{"id": 1}',
        message_id="original",
        correlation_id="cart-7",
        content_type="application/json",
        subject="order",
        properties={"traceparent": TRACE, "tenant": "one", "size": 7, "big": 2**40, "ok": True},
        delivery_count=2,
    )
    assert host(app).invoke("busy", sent).fates == ["completed"]
    (copy,) = [m for m in broker.messages("orders") if m.state is MessageState.SCHEDULED]
    properties = {str(name): value for name, value in copy.application_properties.items()}
    carried = json.loads(properties.pop("queue_runtime"))
    assert copy.body == b'{"id": 1}'
    assert properties == sent.properties
    assert carried == {"id": "original", "attempts": 2}
    assert copy.message_id not in ("original", None)
    assert copy.session_id is None


def test_identity_and_attempts_survive_a_copy(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    outbox = Outbox()
    register(app, busy, connection="SB", make_sender=lambda: outbox)
    running = host(app)
    running.invoke("busy", Sent(message_id="original", delivery_count=2))
    (copy,) = outbox.sent
    assert copy.delay == 30
    again = Sent(message_id=copy.deduplication_id, properties=dict(copy.attributes))
    assert running.invoke("busy", again).fates == ["dead-lettered"]
    assert service.dead_letters[again.lock_token][0] == "failed on delivery 3 of 3: busy"


@pytest.mark.parametrize("in_batch", [False, True])
def test_the_copys_fields(app: func.FunctionApp, host: Hosts, in_batch: bool) -> None:
    outbox = Outbox()
    handler: Any = busy_batch if in_batch else busy
    register(app, handler, connection="SB", make_sender=lambda: outbox)
    sent = Sent(
        b"busy",
        message_id="m",
        correlation_id="c",
        content_type="text/plain",
        subject="s",
        to="t",
        reply_to="r",
        session_id="not of a session queue",
    )
    assert host(app).invoke(handler.__name__, sent).fates == ["completed"]
    (copy,) = outbox.sent
    assert (copy.correlation_id, copy.group_id) == ("c", "not of a session queue")
    assert copy.native == {
        "content_type": "text/plain",
        "subject": "s",
        "to": "t",
        "reply_to": "r",
    }


def test_a_batch_sends_copies_before_it_completes_the_originals(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    outbox = Outbox(b"never")
    calls_at_send: list[int] = []

    def make() -> Outbox:
        calls_at_send.append(len(service.calls))
        return outbox

    register(app, busy_batch, connection="SB", make_sender=make)
    sent = [Sent(b"good"), Sent(b"busy"), Sent(b"bad")]
    assert host(app).invoke("busy_batch", *sent).fates == ["completed", "completed", "abandoned"]
    assert calls_at_send == [2]
    assert service.calls[2] == ("Complete", sent[1].lock_token)


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_copy_that_is_refused_means_that_the_original_comes_back(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture, in_batch: bool
) -> None:
    handler: Any = busy_batch if in_batch else busy
    register(app, handler, connection="SB", make_sender=lambda: Outbox(b"busy"))
    sent = Sent(b"busy", message_id="m")
    assert host(app).invoke(handler.__name__, sent).fates == ["abandoned"]
    assert "message m of orders to be retried: busy (not delayed: refused by" in caplog.text


def test_no_connection_means_that_the_original_comes_back(
    app: func.FunctionApp,
    host: Hosts,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    register(app, busy, connection="NOWHERE")
    assert host(app).invoke("busy", Sent()).fates == ["abandoned"]
    assert "NOWHERE__fullyQualifiedNamespace" in caplog.text


def test_backoff_is_a_copy_only_where_that_is_asked_for(
    app: func.FunctionApp, host: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    @queue_handler(queue="orders")
    def impatient(order: bytes) -> None:
        raise ValueError

    outbox = Outbox()
    register(app, impatient, connection="SB", make_sender=lambda: outbox)
    register(app, failing, connection="SB", make_sender=lambda: outbox)
    running = host(app)
    assert running.invoke("impatient", Sent()).fates == ["abandoned"]
    assert outbox.sent == []
    assert running.invoke("failing", Sent()).fates == ["completed"]
    assert 0 < outbox.sent[0].delay <= 1


def test_the_operator_can_ask_for_delayed_retries(
    app: func.FunctionApp, host: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    @queue_handler(queue="orders")
    def impatient(order: bytes) -> None:
        raise ValueError

    monkeypatch.setenv("QUEUE_DELAYED_RETRIES", "true")
    outbox = Outbox()
    register(app, impatient, connection="SB", make_sender=lambda: outbox)
    running = host(app)
    for _ in range(2):
        assert running.invoke("impatient", Sent()).fates == ["completed"]
    assert len(outbox.sent) == 2


def test_retry_now_makes_no_copy(app: func.FunctionApp, host: Hosts) -> None:
    @queue_handler(queue="orders", delayed_retries=True)
    def eager(order: bytes) -> None:
        raise Retry(after=0)

    outbox = Outbox()
    register(app, eager, connection="SB", make_sender=lambda: outbox)
    assert host(app).invoke("eager", Sent()).fates == ["abandoned"]
    assert outbox.sent == []


def test_a_subscription_is_refused_copies_which_all_of_its_topic_would_get(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox()
    register(
        app, busy, connection="SB", topic="sales", subscription="mail", make_sender=lambda: outbox
    )
    assert host(app).invoke("busy", Sent()).fates == ["abandoned"]
    assert outbox.sent == []
    assert "sales/mail: retries are not delayed on subscriptions" in caplog.text


def test_without_the_settlement_service_no_copies_are_made_that_would_double(
    app: func.FunctionApp, host: Hosts
) -> None:
    from queue_runtime.clouds.azure_settlement import SettlementClient

    outbox = Outbox()
    nobody = SettlementClient(lambda: "127.0.0.1:1")
    register(app, busy_batch, connection="SB", make_sender=lambda: outbox, settlement=nobody)
    running = host(app)
    assert running.invoke("busy_batch", Sent(b"good"), Sent(b"busy")).fates == ["abandoned"] * 2
    assert running.invoke("busy_batch", Sent(b"busy"), Sent(b"busy")).fates == ["abandoned"] * 2
    assert outbox.sent == []


def test_a_copy_is_in_its_envelope_as_the_original_was(app: func.FunctionApp, host: Hosts) -> None:
    @queue_handler(queue="orders", envelope="sns")
    def unwrapped(message: Message[str]) -> None:
        raise Retry(f"not now: {message.body}", after=5)

    outbox = Outbox()
    register(app, unwrapped, connection="SB", make_sender=lambda: outbox)
    notification = {"Type": "Notification", "MessageId": "n", "Message": "inner", "TopicArn": "t"}
    body = json.dumps(notification).encode()
    assert host(app).invoke("unwrapped", Sent(body)).fates == ["completed"]
    assert outbox.sent[0].body == body


def test_the_app_setting_is_all_that_a_copy_needs(
    app: func.FunctionApp, host: Hosts, broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create_queue("of-settings")
    monkeypatch.setenv("SB", broker.connection_string)
    monkeypatch.setenv("WHICH", "of-settings")
    ours = register(app, busy, connection="SB", queue="%WHICH%")
    assert host(app).invoke("busy", Sent(message_id="m")).fates == ["completed"]
    _close_sender(ours)
    (copy,) = broker.messages("of-settings")
    assert copy.state is MessageState.SCHEDULED


def test_delayed_retries_of_a_session_are_refused_when_it_is_registered(
    app: func.FunctionApp, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        register(
            app,
            busy,
            connection="SB",
            sessions=True,
            settings=load_settings({"queue": "orders", "delayed_retries": True}, environ={}),
        )
    assert "not delayed in sessions" in caplog.text


def _close_sender(host: FunctionsHost) -> None:
    sender = host.service.sender
    assert isinstance(sender, ServiceBusSender)
    sender.close()
