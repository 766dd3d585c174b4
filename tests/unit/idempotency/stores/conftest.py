"""Every store, each over the nearest thing to its service that there is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
from moto import mock_aws

from queue_runtime.clouds.aws import dynamodb_client
from queue_runtime.idempotency.stores.cosmos import CosmosStore
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.idempotency.stores.redis import RedisStore
from queue_runtime.idempotency.stores.sqlite import SqliteStore
from tests.brokers.cosmos.container import Container
from tests.brokers.cosmos.server import COLLECTION, DATABASE, KEY, CosmosServer, serving
from tests.lambda_rig import Clock
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from queue_runtime.idempotency.store import IdempotencyStore

TABLE = "claims"
KINDS = ("memory", "sqlite", "dynamodb", "redis", "cosmos")


class MakeStore(Protocol):
    """Opens one more store over the same rows, as another process would."""

    def __call__(self) -> IdempotencyStore: ...


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = 1_760_000_000.0
    return clock


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = dynamodb_client("us-east-1")
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "message_key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "message_key", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client
        client.close()


@pytest.fixture
def cosmos(clock: Clock) -> Iterator[CosmosServer]:
    with serving(Container(clock)) as server:
        yield server


def cosmos_container(server: CosmosServer) -> Any:
    from azure.cosmos import CosmosClient

    client = CosmosClient(server.endpoint, KEY, retry_total=0)
    return client.get_database_client(DATABASE).get_container_client(COLLECTION)


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[MakeStore]:
    kind = request.param
    opened: list[IdempotencyStore] = []
    if kind == "memory":
        one = MemoryStore(clock=clock)
        yield lambda: one
    elif kind == "sqlite":

        def sqlite() -> IdempotencyStore:
            opened.append(SqliteStore(str(tmp_path / "claims.db"), clock=clock))
            return opened[-1]

        yield sqlite
    elif kind == "dynamodb":
        client = request.getfixturevalue("dynamodb")
        yield lambda: DynamoDbStore(TABLE, client=client, clock=clock)
    elif kind == "redis":
        url = request.getfixturevalue("redis_url")

        def connect() -> IdempotencyStore:
            opened.append(RedisStore(url, clock=clock))
            return opened[-1]

        yield connect
    else:
        container = cosmos_container(request.getfixturevalue("cosmos"))
        yield lambda: CosmosStore(container, clock=clock)
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> IdempotencyStore:
    return make_store()
