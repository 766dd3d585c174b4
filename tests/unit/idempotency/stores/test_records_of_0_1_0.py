"""Records that 0.1.0 wrote are read, and what is written now is read by 0.1.0 beside it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from queue_runtime import Idempotency, queue_handler
from queue_runtime.idempotency.stores.cosmos import CosmosStore
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore
from queue_runtime.idempotency.stores.redis import RedisStore
from queue_runtime.idempotency.stores.sqlite import SqliteStore
from queue_runtime.testing import deliver
from tests.unit.idempotency.stores.conftest import TABLE, cosmos_container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queue_runtime.idempotency.store import IdempotencyStore
    from queue_runtime.outcome import Outcome
    from tests.lambda_rig import Clock

FIXTURES = Path(__file__).parents[3] / "fixtures/v0_1_0"
BODY = '{"id": "a-1", "amount": 5}'
REWRITTEN = '{"amount":5,"id":"a-1"}'
KEY = "shop.take_order@queue#29db5637c8622bc95878c32bb0e920cb"
DUPLICATE = "a duplicate, whose work was done before"
ANOTHER = "its key stands for another body, whose work is done"

Records = dict[str, dict[str, Any]]


class Stored(NamedTuple):
    """A store over the records of 0.1.0.

    - `read`: gives the records as they are now, by key, in plain values.
    - `overwrite`: writes a body's claim over a record, as 0.1.0 does when the old one has ended.
    """

    store: IdempotencyStore
    read: Callable[[], Records]
    overwrite: Callable[[str], None]


def of_0_1_0(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


@pytest.fixture(params=["sqlite", "dynamodb", "redis", "cosmos"])
def stored(request: pytest.FixtureRequest) -> Stored:
    made: Stored = request.getfixturevalue(f"{request.param}_of_0_1_0")
    return made


@pytest.fixture
def sqlite_of_0_1_0(clock: Clock, tmp_path: Path) -> Iterator[Stored]:
    path = shutil.copy(FIXTURES / "claims.db", tmp_path)
    store = SqliteStore(str(path), clock=clock)
    database = sqlite3.connect(path, isolation_level=None)

    def read() -> Records:
        rows = database.execute("SELECT key, owner, ends, done, payload FROM claims").fetchall()
        names = ("owner", "ends", "done", "payload")
        return {key: dict(zip(names, values, strict=True)) for key, *values in rows}

    def overwrite(payload: str) -> None:
        database.execute("UPDATE claims SET payload = ? WHERE key = ?", (payload, KEY))

    yield Stored(store, read, overwrite)
    database.close()
    store.close()


@pytest.fixture
def dynamodb_of_0_1_0(dynamodb: Any, clock: Clock) -> Stored:
    for item in of_0_1_0("dynamodb.json"):
        dynamodb.put_item(TableName=TABLE, Item=item)

    def read() -> Records:
        items = dynamodb.scan(TableName=TABLE)["Items"]
        return {
            item.pop("message_key")["S"]: {
                name: next(iter(value.values())) for name, value in item.items()
            }
            for item in items
        }

    def overwrite(payload: str) -> None:
        # 0.1.0 puts whole items.
        (item,) = (i for i in of_0_1_0("dynamodb.json") if i["message_key"]["S"] == KEY)
        dynamodb.put_item(TableName=TABLE, Item={**item, "payload": {"S": payload}})

    return Stored(DynamoDbStore(TABLE, client=dynamodb, clock=clock), read, overwrite)


@pytest.fixture
def redis_of_0_1_0(redis_url: str, clock: Clock) -> Iterator[Stored]:
    hashes = of_0_1_0("redis.json")
    client: Any = redis.Redis.from_url(redis_url, decode_responses=True)
    for key, fields in hashes.items():
        client.hset(key, mapping=fields)
    store = RedisStore(redis_url, clock=clock)

    def read() -> Records:
        return {
            key.removeprefix("queue-runtime:{").replace("}:", "#"): client.hgetall(key)
            for key in client.keys("queue-runtime:{shop.take_order@queue}:*")
        }

    def overwrite(payload: str) -> None:
        client.hset(f"queue-runtime:{{{KEY.replace('#', '}:')}", "payload", payload)

    yield Stored(store, read, overwrite)
    client.delete(*client.keys("queue-runtime:{shop.take_order@queue}:*"))
    client.close()
    store.close()


@pytest.fixture
def cosmos_of_0_1_0(cosmos: Any, clock: Clock) -> Stored:
    documents = of_0_1_0("cosmos.json")

    def write(kind: str, document: dict[str, Any]) -> None:
        operation = {"operationType": kind, "resourceBody": document, "id": document["id"]}
        cosmos.container.batch(document["scope"], [operation])

    for document in documents:
        write("Create", document)

    def read() -> Records:
        rows = cosmos.container._documents.values()
        return {row["message_key"]: {n: v for n, v in row.items() if n[0] != "_"} for row in rows}

    def overwrite(payload: str) -> None:
        # 0.1.0 replaces whole documents.
        (document,) = (d for d in documents if d["message_key"] == KEY)
        write("Replace", {**document, "payload": payload})

    return Stored(CosmosStore(cosmos_container(cosmos), clock=clock), read, overwrite)


def take(store: IdempotencyStore, body: str, **options: Any) -> Outcome:
    """Deliver a body to the handler of the fixtures, which has its key in it."""
    return deliver(_handler(key="id", store=store, **options), body)


def take_by_id(store: IdempotencyStore, identity: str) -> Outcome:
    return deliver(_handler(store=store), "{}", id=identity)


def _handler(**options: Any) -> Any:
    def take_order(order: dict[str, Any]) -> None: ...

    take_order.__module__, take_order.__qualname__ = "shop", "take_order"
    return queue_handler(idempotency=Idempotency(**options))(take_order)


def test_work_done_under_0_1_0_is_not_done_again(stored: Stored, clock: Clock) -> None:
    clock.advance(86_400)
    assert take(stored.store, BODY).reason == DUPLICATE
    assert take_by_id(stored.store, "m-1").reason == DUPLICATE


def test_a_claim_of_a_process_of_0_1_0_is_waited_for(stored: Stored, clock: Clock) -> None:
    assert take_by_id(stored.store, "m-2").unrun
    clock.advance(61)
    assert take_by_id(stored.store, "m-2").reason == ""


def test_a_record_of_0_1_0_is_compared_by_its_rule(stored: Stored) -> None:
    assert take(stored.store, REWRITTEN).reason == ANOTHER
    assert take(stored.store, '{"id": "a-1", "amount": 6}').reason == ANOTHER
    assert take(stored.store, BODY, compare_body=("amount",)).reason == DUPLICATE


def test_a_record_written_now_is_compared_by_content(stored: Stored, clock: Clock) -> None:
    clock.advance(2_000_000)
    assert take(stored.store, BODY).reason == ""
    assert take(stored.store, REWRITTEN).reason == DUPLICATE
    assert take(stored.store, '{"id": "a-1", "amount": 6}').reason == ANOTHER


def test_0_1_0_reads_a_record_written_now_as_its_own(stored: Stored, clock: Clock) -> None:
    before = stored.read()
    clock.advance(2_000_000)  # in which the first record has ended
    take(stored.store, BODY)
    after = stored.read()[KEY]
    added = after.keys() - before[KEY].keys()
    # SQLite's column is beyond what 0.1.0 selects; elsewhere it does not look at further fields.
    assert added <= {"body_digests"}
    own = {"owner", "claimed_by", "ends", "ends_ms", "expires_at"}
    same = before[KEY].keys() - own
    assert "payload" in same
    assert {name: after[name] for name in same} == {name: before[KEY][name] for name in same}


def test_what_0_1_0_wrote_over_a_record_of_ours_counts_by_itself(
    stored: Stored, clock: Clock
) -> None:
    clock.advance(2_000_000)
    take(stored.store, REWRITTEN)
    stored.overwrite("0" * 32)
    clock.now = 1_760_000_000.0  # where its record has not ended
    assert take(stored.store, BODY).reason == ANOTHER


def test_a_file_is_brought_up_to_date_once_by_all_who_open_it(tmp_path: Path, clock: Clock) -> None:
    path = shutil.copy(FIXTURES / "claims.db", tmp_path)
    start = Barrier(6)

    def open_at_once(_: int) -> SqliteStore:
        start.wait()
        return SqliteStore(str(path), clock=clock)

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(open_at_once, range(6)))
    for store in stores:
        assert take(store, BODY).reason == DUPLICATE
        store.close()
