"""`queue-runtime stats` over Service Bus, as a process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.service_bus.fixtures import certificate as certificate

if TYPE_CHECKING:
    from tests.brokers.service_bus.certificate import Certificate
    from tests.cli.shell import Shell


def fill(broker: ServiceBusBroker) -> None:
    """Leave three messages in the queue and two that were dead-lettered."""
    client = ServiceBusClient.from_connection_string(broker.connection_string)
    with client, client.get_queue_sender("orders") as sender:
        sender.send_messages([ServiceBusMessage(str(n)) for n in range(5)])
        with client.get_queue_receiver("orders") as receiver:
            for message in receiver.receive_messages(2, 5):
                receiver.dead_letter_message(message)


def test_it_shows_how_many_were_dead_lettered(shell: Shell, certificate: Certificate) -> None:
    with ServiceBusBroker(tls=certificate.context) as broker:
        broker.create_queue("orders")
        fill(broker)
        shell.environ["AZURE_SERVICE_BUS_CONNECTION_STRING"] = broker.connection_string
        shell.environ["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
        urls = ("servicebus:///orders", "servicebus:///orders/dead-letter")
        done = shell.run("stats", *urls, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    queue, aside = (json.loads(line) for line in done.stdout.splitlines())
    assert (queue["visible"], queue["in_flight"], queue["delayed"]) == (3, 0, 0)
    assert (queue["dead_lettered"], queue["total"]) == (2, 3)
    assert (aside["visible"], aside["dead_lettered"]) == (2, None)
    assert queue["oldest_seconds"] >= 0
    assert aside["oldest_seconds"] >= 0


def test_without_the_right_it_says_so_and_shows_what_is_seen(
    shell: Shell, certificate: Certificate
) -> None:
    with ServiceBusBroker(tls=certificate.context) as broker:
        broker.create_queue("orders")
        fill(broker)
        text = broker.add_policy("poller", "Listen")
        shell.environ["AZURE_SERVICE_BUS_CONNECTION_STRING"] = text
        shell.environ["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
        done = shell.run("stats", "servicebus:///orders", "--json")
    assert done.returncode == 0
    (queue,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (queue["visible"], queue["dead_lettered"]) == (3, None)
    assert "Manage" in done.stderr
    assert text.split("SharedAccessKey=")[1].split(";")[0] not in done.stderr
