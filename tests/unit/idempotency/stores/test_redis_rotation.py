from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from queue_runtime import SettingsError
from queue_runtime.config import Secret, load_settings
from queue_runtime.config.references import Found, Referenced
from queue_runtime.idempotency import open_store
from queue_runtime.idempotency.store import FRESH, Claim
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as url:
        yield url


class Rotation:
    """A password that is changed at the server, and then where it is kept; time is moved."""

    def __init__(self, url: str, *, whole_url: bool) -> None:
        self.url, self.whole_url, self.now = url, whole_url, 0.0
        self.admin = redis.Redis.from_url(url)
        self.password = "first"
        self.admin.config_set("requirepass", "first")
        self.secret = Referenced("vault://x", lambda: Found(self._kept()), lambda: self.now)

    def _kept(self) -> str:
        if not self.whole_url:
            return self.password
        return self.url.replace("redis://", f"redis://:{self.password}@")

    def rotate(self, password: str, *, cut: bool) -> None:
        self.admin.auth(self.password)
        self.admin.config_set("requirepass", password)
        self.password = password
        if cut:
            self.admin.client_kill_filter(_type="normal", skipme=True)
        self.now += 60.0


@pytest.fixture(params=[True, False], ids=["the whole URL", "the password"])
def rotation(request: pytest.FixtureRequest, server: str) -> Iterator[Rotation]:
    rotation = Rotation(server, whole_url=request.param)
    yield rotation
    rotation.admin.close()


@pytest.mark.parametrize("cut", [True, False])
def test_a_changed_password_is_taken_up_without_a_restart(rotation: Rotation, cut: bool) -> None:
    secret = rotation.secret
    store = (
        open_store(secret.reveal(), secret=secret)
        if rotation.whole_url
        else open_store(rotation.url, password=secret)
    )
    assert store.claim([Claim("q#1", "")], "a", 60.0)[0] is FRESH
    rotation.rotate("second", cut=cut)
    assert store.claim([Claim("q#1", "")], "b", 60.0)[0] is not FRESH
    assert store.claim([Claim("q#2", "")], "b", 60.0)[0] is FRESH
    assert secret.version == (2 if cut else 1)
    store.close()


def test_a_password_that_is_wrong_where_it_is_kept_stays_an_error(rotation: Rotation) -> None:
    if rotation.whole_url:
        return
    store = open_store(rotation.url, password=Secret("wrong"))
    with pytest.raises(redis.AuthenticationError) as caught:
        store.claim([Claim("q#1", "")], "a", 60.0)
    assert "wrong" not in str(caught.value).replace("wrong number", "")


def test_user_and_password_of_a_url_are_taken_apart_as_they_were_meant(server: str) -> None:
    admin = redis.Redis.from_url(server)
    admin.acl_setuser("app", enabled=True, passwords=["+p@ss:w/rd"], keys=["*"], commands=["+@all"])
    url = server.replace("redis://", "redis://app:p%40ss%3Aw%2Frd@")
    admin.config_set("requirepass", "only-app-may")
    store = open_store(url)
    assert store.claim([Claim("q#1", "")], "a", 60.0)
    with pytest.raises(SettingsError):
        load_settings({"idempotency_store": "vault://x"}, environ={})
    admin.close()
