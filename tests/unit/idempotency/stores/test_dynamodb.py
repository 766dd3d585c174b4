"""What DynamoDB is asked, how often, and what its refusals come to."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from queue_runtime.clouds.aws import dynamodb_client
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAIMS = [Claim(f"h@q#{n}", f"p{n}") for n in range(10)]


class Requests:
    """Counts what a client sends."""

    def __init__(self, client: Any) -> None:
        self.names: list[str] = []
        client.meta.events.register("before-call.dynamodb", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        self.names.append(model.name)


def test_a_batch_of_ten_is_one_request_each_way(dynamodb: Any) -> None:
    requests, store = Requests(dynamodb), DynamoDbStore("claims", client=dynamodb)
    store.claim(CLAIMS, "first", 10)
    store.extend(CLAIMS, "first", 20)
    store.commit(CLAIMS, "first", 100)
    store.release(CLAIMS, "first")
    # The release finds nothing of its own, which takes no second request.
    assert requests.names == ["TransactWriteItems"] * 4


def test_a_batch_with_duplicates_is_one_request_more(dynamodb: Any) -> None:
    store = DynamoDbStore("claims", client=dynamodb)
    store.claim(CLAIMS[:4], "first", 10)
    requests = Requests(dynamodb)
    assert [f.state for f in store.claim(CLAIMS, "second", 10)] == ["in progress"] * 4 + [
        "fresh"
    ] * 6
    assert requests.names == ["TransactWriteItems"] * 2


def test_one_message_is_a_plain_conditional_write(dynamodb: Any) -> None:
    requests, store = Requests(dynamodb), DynamoDbStore("claims", client=dynamodb)
    one = CLAIMS[:1]
    store.claim(one, "first", 10)
    store.claim(one, "second", 10)
    store.extend(one, "first", 10)
    store.release(one, "second")
    store.commit(one, "first", 10)
    assert requests.names == ["PutItem", "PutItem", "UpdateItem", "DeleteItem", "PutItem"]


def test_rows_have_a_time_to_live_in_whole_seconds(dynamodb: Any) -> None:
    store = DynamoDbStore("claims", client=dynamodb, clock=lambda: 1_760_000_000.25)
    store.claim(CLAIMS[:1], "first", 10.5)
    (row,) = dynamodb.scan(TableName="claims")["Items"]
    assert row == {
        "message_key": {"S": "h@q#0"},
        "claimed_by": {"S": "first"},
        "ends_ms": {"N": "1760000010750"},
        "expires_at": {"N": "1760000011"},
        "payload": {"S": "p0"},
    }


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[DynamoDbStore, Stubber]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("queue_runtime.idempotency.stores.dynamodb._PAUSE_SECONDS", 0.0)
    client = dynamodb_client("us-east-1")
    with Stubber(client) as stubber:
        yield DynamoDbStore("claims", client=client), stubber


def refuse(stubber: Stubber, *codes: str) -> None:
    stubber.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": code} for code in codes]},
    )


def test_a_conflict_with_another_request_is_tried_again(stubbed: Any) -> None:
    store, stubber = stubbed
    refuse(stubber, "TransactionConflict", "None")
    stubber.add_response("transact_write_items", {})
    assert [found.state for found in store.claim(CLAIMS[:2], "me", 10)] == ["fresh", "fresh"]


def test_a_row_that_is_always_being_written_is_in_progress(stubbed: Any) -> None:
    store, stubber = stubbed
    for _ in range(6):
        refuse(stubber, "TransactionConflict", "TransactionConflict")
    found = store.claim(CLAIMS[:2], "me", 10)
    assert [(each.state, each.remaining) for each in found] == [("in progress", 1.0)] * 2


def test_a_commit_never_passes_over_a_row_in_silence(stubbed: Any) -> None:
    store, stubber = stubbed
    for _ in range(6):
        refuse(stubber, "TransactionConflict", "None")
    with pytest.raises(TimeoutError):
        store.commit(CLAIMS[:2], "me", 10)


def test_a_single_write_may_conflict_too(stubbed: Any) -> None:
    store, stubber = stubbed
    stubber.add_client_error("put_item", "TransactionConflictException")
    stubber.add_response("put_item", {})
    assert store.claim(CLAIMS[:1], "me", 10)[0].state == "fresh"


@pytest.mark.parametrize("code", ["ThrottlingError", "ValidationError"])
def test_what_concerns_the_table_is_raised(stubbed: Any, code: str) -> None:
    store, stubber = stubbed
    refuse(stubber, code, "None")
    with pytest.raises(ClientError):
        store.claim(CLAIMS[:2], "me", 10)


def test_a_refusal_that_does_not_show_the_row_is_in_progress(stubbed: Any) -> None:
    store, stubber = stubbed
    stubber.add_client_error("put_item", "ConditionalCheckFailedException")
    assert store.claim(CLAIMS[:1], "me", 10)[0].state == "in progress"


def test_a_lost_reply_is_repeated_by_the_sdk_with_one_token(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    tokens: list[str] = []
    losses = deque([True])

    def lose(response: Any, **_: Any) -> Any:
        return 0 if losses and losses.popleft() else None

    def note(request: Any, **_: Any) -> None:
        tokens.append(json.loads(request.body)["ClientRequestToken"])

    dynamodb.meta.events.register_first("before-send.dynamodb.TransactWriteItems", note)
    dynamodb.meta.events.register_first("needs-retry.dynamodb.TransactWriteItems", lose)
    store = DynamoDbStore("claims", client=dynamodb)
    assert [found.state for found in store.claim(CLAIMS, "me", 10)] == ["fresh"] * 10
    assert len(tokens) == 2
    assert len(set(tokens)) == 1
