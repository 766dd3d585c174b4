"""Faults strike the calls they name, and the effect is what the fault says it is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from tests.brokers.sqs import Cut, Fail, FailEntries, Kind, Latency, SqsBroker, Throttle
from tests.brokers.sqs.faults import Faults, Plan
from tests.brokers.sqs.fixtures import sqs_client_for
from tests.brokers_tests.sqs.refusals import refusal, refused

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from tests.brokers_tests.sqs.conftest import Ours


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_throttled_call_has_no_effect(ours: Ours) -> None:
    url = ours.queue()
    ours.broker.faults.add(Throttle(), calls=["SendMessage"], times=1)
    send = ours.client.send_message
    assert refusal(lambda: send(QueueUrl=url, MessageBody="x")) == "RequestThrottled"
    assert ours.broker.counts(name_of(url)).visible == 0
    send(QueueUrl=url, MessageBody="x")
    assert ours.broker.counts(name_of(url)).visible == 1


@pytest.mark.parametrize("fault", [Throttle(), Fail(), Fail("ServiceUnavailable", 503)])
def test_boto3_retries_what_it_takes_for_temporary(ours: Ours, fault: Throttle | Fail) -> None:
    url = ours.queue()
    ours.broker.faults.add(fault, calls=["SendMessage"], times=1)
    patient = sqs_client_for(ours.broker.endpoint_url, attempts=2)
    patient.send_message(QueueUrl=url, MessageBody="x")
    patient.close()
    assert ours.broker.journal.calls["SendMessage"] == 2
    assert ours.bodies(url) == ["x"]


def test_an_error_of_ones_own_choice(ours: Ours) -> None:
    url = ours.queue()
    ours.broker.faults.add(Fail("AccessDeniedException", 403, "not you"), queue=name_of(url))
    assert refused(lambda: ours.receive(url)) == ("AccessDeniedException", "not you")
    assert ours.receive(ours.queue()) == []


def test_entries_fail_by_name_and_the_others_succeed(ours: Ours) -> None:
    url = ours.queue()
    ours.broker.faults.add(FailEntries(ids=("b",)), calls=["SendMessageBatch"])
    entries: Any = [{"Id": name, "MessageBody": name} for name in ("a", "b", "c")]
    reply = ours.client.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in reply["Successful"]] == ["a", "c"]
    [failed] = reply["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("b", "InternalError", False)
    assert ours.bodies(url) == ["a", "c"]


def test_entries_fail_by_chance(ours: Ours) -> None:
    url = ours.queue()
    ours.broker.faults.add(FailEntries(), rate=0.5)
    entries: Any = [{"Id": str(number), "MessageBody": "x"} for number in range(10)]
    failed = [
        len(ours.client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", []))
        for _ in range(10)
    ]
    assert 20 <= sum(failed) <= 80


def test_a_deletes_entry_that_failed_stays_in_flight(ours: Ours) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    ours.broker.faults.add(FailEntries(), calls=["DeleteMessageBatch"])
    ours.client.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]
    )
    assert ours.broker.counts(name_of(url)).in_flight == 1


@pytest.mark.parametrize(("after_effect", "kept"), [(False, 0), (True, 1)])
def test_a_connection_is_cut_before_or_after_the_effect(
    ours: Ours, after_effect: bool, kept: int
) -> None:
    url = ours.queue()
    ours.broker.faults.add(Cut(after_effect=after_effect), calls=["SendMessage"], times=1)
    with pytest.raises(ConnectionClosedError):
        ours.client.send_message(QueueUrl=url, MessageBody="x")
    assert ours.broker.counts(name_of(url)).visible == kept
    ours.client.send_message(QueueUrl=url, MessageBody="x")  # on a new connection


def test_a_lost_receive_leaves_its_messages_in_flight(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1")
    ours.broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"], times=1)
    with pytest.raises(ConnectionClosedError):
        ours.receive(url, ReceiveRequestAttemptId="try")
    assert ours.receive(url) == []
    assert ours.bodies(url, ReceiveRequestAttemptId="try") == ["1"]


def test_a_lost_long_poll_takes_its_message_along(
    sqs_broker: SqsBroker, sqs_client: SQSClient
) -> None:
    url = sqs_broker.create_queue("orders", DelaySeconds=1)
    sqs_broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"])
    sqs_client.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(ConnectionClosedError):
        sqs_client.receive_message(QueueUrl=url, WaitTimeSeconds=10)
    assert sqs_broker.counts("orders").in_flight == 1


def test_latency_delays_the_effect(sqs_broker: SqsBroker, sqs_client: SQSClient) -> None:
    url = sqs_broker.create_queue("orders")
    sqs_broker.faults.add(Latency(0.05, jitter=0.01), calls=["SendMessage"])
    sqs_client.send_message(QueueUrl=url, MessageBody="x")
    called, sent = sqs_broker.journal.events(Kind.CALL, Kind.SENT)
    assert sent.at - called.at > 0.04


def test_faults_are_in_the_journal(ours: Ours) -> None:
    url = ours.queue()
    ours.broker.faults.add(Throttle(), calls=["ReceiveMessage"])
    refusal(lambda: ours.receive(url))
    [event] = ours.broker.journal.events(Kind.FAULT)
    assert (event.queue, event.detail) == (name_of(url), "Throttle: ReceiveMessage")


def test_rules_end_by_count_by_removal_and_all_at_once() -> None:
    faults = Faults()
    faults.add(Throttle(), times=2)
    assert [faults.plan("SendMessage", "q").ending for _ in range(3)] == [
        Throttle(),
        Throttle(),
        None,
    ]
    rule = faults.add(Cut())
    assert faults.plan("SendMessage", "q").ending == Cut()
    faults.remove(rule)
    assert faults.plan("SendMessage", "q") == Plan()
    faults.add(Latency(1.0))
    faults.add(Latency(2.0))
    assert faults.plan("SendMessage", "q").delay == 3.0
    faults.clear()
    assert faults.plan("SendMessage", "q") == Plan()


def test_a_rate_is_kept_on_average() -> None:
    faults = Faults(seed=3)
    faults.add(Throttle(), rate=0.25)
    struck = sum(faults.plan("SendMessage", "q").ending is not None for _ in range(2000))
    assert 400 < struck < 600


def test_calls_given_as_one_text_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="collection of call names"):
        Faults().add(Throttle(), calls="SendMessage")


def test_stopping_hangs_up_and_stops_listening() -> None:
    with SqsBroker() as broker:
        client = sqs_client_for(broker.endpoint_url)
        client.create_queue(QueueName="orders")
    with pytest.raises(EndpointConnectionError):
        client.create_queue(QueueName="orders")
    client.close()
    assert broker.counts("orders").visible == 0  # what it knew can still be asked


def test_a_port_in_use_is_an_error_and_no_hang() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            SqsBroker(port=taken.getsockname()[1]).start()
