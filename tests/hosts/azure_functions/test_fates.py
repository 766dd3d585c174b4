"""The same handler over messages in a file, with no host and no queue."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from functions.orders import take_order
from queue_runtime import Batch, EventError, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.testing.azure import azure_fates, read_azure_messages

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "functions" / "events" / "azure" / "messages.json"


def fates(handler: Any, messages: Any, **options: Any) -> list[tuple[str, str]]:
    found = azure_fates(
        handler,
        messages,
        settings=load_settings(handler.definition.settings, environ={}),
        **options,
    )
    return [(message.id, str(outcome.disposition)) for message, outcome in found]


def test_the_sample() -> None:
    assert fates(take_order, read_azure_messages(SAMPLE)) == [
        ("order-1", "ack"),
        ("order-2", "dead-letter"),
        ("order-3", "dead-letter"),
        ("order-4", "dead-letter"),
        ("order-5", "dead-letter"),
        ("order-6", "retry"),
    ]


def test_a_batch_of_a_session_stops_where_it_fails() -> None:
    @queue_handler(queue="clicks", batch_order="accept_repeats")
    async def load(batch: Batch[dict]) -> None:  # type: ignore[type-arg]
        batch.fail(batch[1], Retry("not now", after=5))

    messages = [{"message_id": name, "session_id": "s", "body": {}} for name in "abc"]
    found = azure_fates(load, messages, sessions=True)
    assert [outcome.unrun for _, outcome in found] == [False, False, True]
    assert [message.group_id for message, _ in found] == ["s", "s", "s"]
    assert fates(load, messages) == [("a", "ack"), ("b", "retry"), ("c", "ack")]


def test_a_delay_is_shown_where_it_would_be_kept() -> None:
    @queue_handler
    def busy(body: str) -> None:
        raise Retry("busy", after=30)

    ((message, outcome),) = azure_fates(busy, [{"body": "text"}])
    assert (message.queue, message.body, outcome.delay) == ("queue", "text", 30)
    ((_, outcome),) = azure_fates(busy, [{"body": "text"}], queue="q", sessions=True)
    assert outcome.delay is None


@pytest.mark.parametrize("message", ["text", {"message_id": "m"}, {"body": "", "color": "red"}])
def test_what_is_no_message_is_refused_by_its_number(message: Any) -> None:
    with pytest.raises(EventError, match="message 2"):
        azure_fates(take_order, [{"body": ""}, message])


def test_nothing_of_azures_has_to_be_installed() -> None:
    program = (
        "import sys; sys.modules['azure'] = None\n"
        "from functions.orders import take_order\n"
        "from queue_runtime.testing.azure import azure_fates\n"
        "print(len(azure_fates(take_order, [{'body': {'id': 'o', 'amount': 1}}])))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "1"


def test_files_of_messages(tmp_path: Path) -> None:
    file = tmp_path / "messages.json"
    file.write_text(json.dumps({"messages": [{"body": 1}]}))
    assert read_azure_messages(file) == [{"body": 1}]
    for content, why in (("{}", "no list of messages"), ("no", "is not JSON")):
        file.write_text(content)
        with pytest.raises(EventError, match=why):
            read_azure_messages(file)
    with pytest.raises(EventError, match="cannot be read"):
        read_azure_messages(tmp_path / "missing.json")


def test_the_queue_is_named_by_its_url_as_elsewhere() -> None:
    seen: list[str] = []

    @queue_handler
    def take(message: Message[bytes]) -> None:
        seen.append(message.queue)

    for url in ("servicebus:///orders", "servicebus://shop/news/all", "orders"):
        azure_fates(take, [{"body": "{}"}], queue=url)
    assert seen == ["orders", "news/all", "orders"]
