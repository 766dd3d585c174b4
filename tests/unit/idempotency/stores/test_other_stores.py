"""What only one store has: processes, the server's clock, lost connections, URLs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from azure.cosmos.exceptions import CosmosBatchOperationError
from redis.crc import key_slot

from queue_runtime import MissingExtraError, SettingsError
from queue_runtime.idempotency import open_store
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.cosmos import CosmosStore, open_container
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.idempotency.stores.redis import RedisStore
from queue_runtime.idempotency.stores.sqlite import SqliteStore
from tests.brokers.cosmos.server import COLLECTION, DATABASE, KEY
from tests.unit.idempotency.stores.conftest import cosmos_container

if TYPE_CHECKING:
    from tests.brokers.cosmos.server import CosmosServer
    from tests.lambda_rig import Clock

ROOT = Path(__file__).parents[4]
CLAIMS = [Claim(f"h@q#{n}") for n in range(4)]
_scopes = count()

CLAIMER = """
import sys
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
won = []
for n in range(60):
    found = store.claim([Claim(f"h@q#{n}"), Claim(f"h@q#{n}b")], sys.argv[2], 60)
    won += [f"{n}{letter}" for letter, each in zip("ab", found) if each.state == "fresh"]
print(*won)
"""


def test_of_many_processes_one_gets_each_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "claims.db")]
    processes = [
        subprocess.Popen(
            [*command, f"owner-{n}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        won = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            won += process.communicate(timeout=60)[0].split()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sorted(won) == sorted(f"{n}{letter}" for n in range(60) for letter in "ab")


def test_a_file_is_swept_of_what_has_ended(tmp_path: Path, clock: Clock) -> None:
    store = SqliteStore(str(tmp_path / "claims.db"), clock=clock)
    store.claim(CLAIMS, "first", 10)
    clock.advance(11)
    store.claim([Claim("h@q#new")], "second", 10)
    with store._transaction() as database:
        assert database.execute("SELECT key FROM claims").fetchall() == [("h@q#new",)]
    store.close()


def test_memory_is_swept_of_what_has_ended(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    for n in range(3_000):
        store.claim([Claim(f"h@q#{n}")], "me", 10)
        clock.advance(1)
    assert len(store._rows) < 1_100


def test_a_file_that_cannot_be_opened_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="idempotency_store"):
        SqliteStore(str(tmp_path / "no" / "such" / "folder.db"))


def test_redis_forgets_rows_by_itself_and_counts_by_its_own_clock(redis_url: str) -> None:
    store = open_store(redis_url)
    client: Any = redis.Redis.from_url(redis_url)
    claim = Claim(f"h@own-{next(_scopes)}#1")
    store.claim([claim], "first", 30)
    (found,) = store.claim([claim], "second", 30)
    assert found.state == "in progress"
    assert 25 < found.remaining <= 30
    (name,) = client.keys(f"*{claim.key.partition('#')[0]}*")
    assert 25_000 < client.pttl(name) <= 30_000
    store.commit([claim], "first", 1_000)
    assert 990_000 < client.pttl(name) <= 1_000_000
    store.close()
    client.close()


def test_keys_of_one_scope_share_a_place_in_a_cluster(redis_url: str) -> None:
    store = RedisStore(redis_url)
    scope = f"h@slots-{next(_scopes)}"
    store.claim([Claim(f"{scope}#1"), Claim(f"{scope}#2")], "me", 30)
    client: Any = redis.Redis.from_url(redis_url)
    names = client.keys(f"*{scope}*")
    assert len(names) == 2
    assert len({key_slot(name) for name in names}) == 1
    client.close()
    store.close()


def test_scripts_are_loaded_again_after_a_restart(redis_url: str) -> None:
    store = RedisStore(redis_url)
    claim = Claim(f"h@flush-{next(_scopes)}#1")
    store.claim([claim], "first", 30)
    client: Any = redis.Redis.from_url(redis_url)
    client.script_flush()
    assert store.claim([claim], "second", 30)[0].state == "in progress"
    client.close()
    store.close()


def test_a_redis_that_is_away_is_an_error() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(redis.ConnectionError):
        store.claim(CLAIMS, "me", 10)
    store.close()


def test_cosmos_takes_one_batch_each_way(cosmos: CosmosServer, clock: Clock) -> None:
    store = CosmosStore(cosmos_container(cosmos), clock=clock)
    store.claim(CLAIMS, "first", 10)
    store.commit(CLAIMS, "first", 100)
    assert cosmos.requests == ["batch", "batch"]


def test_cosmos_commits_again_after_a_lost_reply(cosmos: CosmosServer, clock: Clock) -> None:
    from azure.core.exceptions import AzureError

    store = CosmosStore(cosmos_container(cosmos), clock=clock)
    store.claim(CLAIMS, "first", 10)
    cosmos.lose_replies = 1
    with pytest.raises(AzureError):
        store.commit(CLAIMS, "first", 100)
    assert store.commit(CLAIMS, "first", 100) == [True] * 4


def test_cosmos_is_opened_by_its_url(cosmos: CosmosServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_COSMOS_ENDPOINT", cosmos.endpoint)
    monkeypatch.setenv("AZURE_COSMOS_KEY", KEY)
    cosmos.container._clock = time
    store = open_store(f"cosmos://account/{DATABASE}/{COLLECTION}")
    assert [found.state for found in store.claim(CLAIMS, "me", 10)] == ["fresh"] * 4


def test_a_cosmos_account_may_be_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Client:
        def __init__(self, endpoint: str, credential: object, **_: Any) -> None:
            opened.append(endpoint)

        def get_database_client(self, name: str) -> Any:
            return self

        def get_container_client(self, name: str) -> Any:
            return self

    monkeypatch.setenv("AZURE_COSMOS_KEY", KEY)
    monkeypatch.setattr("azure.cosmos.CosmosClient", Client)
    open_container("short", "d", "c")
    open_container("own.example.com", "d", "c")
    assert opened == ["https://short.documents.azure.com/", "https://own.example.com/"]


class Contested:
    """A container whose rows others always write first."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.kinds: list[str] = []

    def execute_item_batch(self, operations: Any, partition_key: str) -> None:
        self.kinds.append(operations[0][0])
        if self.statuses:
            raise CosmosBatchOperationError(  # type: ignore[no-untyped-call]  # the SDK has no types
                error_index=0, headers={}, status_code=self.statuses.pop(0), message="no"
            )

    def query_items(self, *_: Any, **__: Any) -> list[Any]:
        return []


def test_a_cosmos_row_that_others_always_write_is_in_progress() -> None:
    (found,) = CosmosStore(Contested(*[409] * 6)).claim(CLAIMS[:1], "me", 10)
    assert (found.state, found.remaining) == ("in progress", 1.0)


def test_cosmos_makes_a_row_again_that_is_gone_and_patches_one_that_is_back() -> None:
    container = Contested(404, 409)
    assert CosmosStore(container).commit(CLAIMS[:1], "me", 10) == [True]
    assert container.kinds == ["patch", "create", "patch"]


def test_a_cosmos_commit_never_passes_over_a_row_in_silence() -> None:
    with pytest.raises(TimeoutError):
        CosmosStore(Contested(*[404, 409] * 20)).commit(CLAIMS[:1], "me", 10)


def test_what_concerns_the_cosmos_container_is_raised() -> None:
    with pytest.raises(CosmosBatchOperationError):
        CosmosStore(Contested(429)).claim(CLAIMS[:1], "me", 10)


def test_a_transaction_that_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "claims.db"))
    with pytest.raises(sqlite3.Error):
        store.claim([CLAIMS[0], Claim(object())], "first", 10)  # type: ignore[arg-type]
    assert store.claim(CLAIMS[:1], "second", 10)[0].state == "fresh"
    store.close()


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [("redis", "redis://host/0", "redis"), ("azure.cosmos", "cosmos://a/d/c", "cosmos")],
)
def test_a_missing_library_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"queue-runtime\[{extra}\]"):
        open_store(url)


def test_stores_are_opened_by_their_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert isinstance(open_store("memory://"), MemoryStore)
    for url in ("sqlite:///claims.db", f"sqlite:///{tmp_path}/absolute.db"):
        store = open_store(url)
        assert isinstance(store, SqliteStore)
        store.close()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["absolute.db", "claims.db"]
    table = open_store("dynamodb://claims?region=eu-west-1")
    assert isinstance(table, DynamoDbStore)
    assert table._client.meta.region_name == "eu-west-1"


@pytest.mark.parametrize(
    "url",
    [
        "claims",
        "mysql://claims",
        "sqlite://claims.db",
        "sqlite:///",
        "dynamodb://",
        "dynamodb://claims?zone=1",
        "redis://",
        "cosmos://account/database",
    ],
)
def test_a_wrong_url_is_told_with_the_right_one(url: str) -> None:
    with pytest.raises(SettingsError, match="idempotency_store"):
        open_store(url)


def test_a_wrong_url_keeps_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        open_store("postgres://user:SECRET@host/claims")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://t?aws_secret_access_key=hunter2",
        "sqlite://x.db?password=hunter2",
        "redis://u:hunter2@127.0.0.1:x/0",
        "redis://u:hunter2@127.0.0.1:99999999/0",
        "cosmos://account/database?token=hunter2",
    ],
)
def test_a_wrong_store_url_is_refused_in_a_sentence_without_its_credentials(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert "idempotency_store: " in str(caught.value)
    assert "hunter2" not in str(caught.value)
