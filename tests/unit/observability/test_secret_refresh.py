from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.config import load_settings
from queue_runtime.observability import metrics
from queue_runtime.observability.secret_refresh import SecretRefresh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400.0
START = 1_800_000_000.0
QUEUE = "secret-refresh-test"
SIGNED = "Endpoint=sb://n/;SharedAccessSignature=SharedAccessSignature sr=x&sig=hunter2&se={}&skn=z"


class Now:
    """A clock that a test moves."""

    seconds = START

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def refresh(now: Now) -> Iterator[SecretRefresh]:
    made = SecretRefresh(now)
    yield made
    made.close()


def _settings(text: str) -> Any:
    return load_settings({"connection_string": text}, environ={})


def _errors() -> float:
    counted = metrics.ERRORS.values()
    return sum(n for (queue, kind), n in counted.items() if queue == QUEUE and "secret:" in kind)


def test_the_end_is_said_30_7_and_1_days_before_and_once_each(
    refresh: SecretRefresh, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    ends = int(START + 40 * DAY)
    with caplog.at_level(logging.WARNING, "queue_runtime"):
        refresh.watch(QUEUE, _settings(SIGNED.format(ends)))
        counts = []
        for day in range(42):
            now.seconds = START + day * DAY
            refresh.refresh()
            counts.append(len(caplog.records))
    said = [day for day in range(1, 42) if counts[day] > counts[day - 1]]
    assert said == [10, 33, 39]
    first = caplog.records[0].getMessage()
    assert first.startswith(
        "the secret of connection_string ends at 2027-02-24 08:00 UTC, in 30.0 "
    )
    assert "hunter2" not in caplog.text


def test_a_secret_that_has_ended_is_said_and_its_time_is_a_metric(
    refresh: SecretRefresh, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "queue_runtime"):
        refresh.watch(QUEUE, _settings(SIGNED.format(int(START - 60))))
    assert (
        "the secret of connection_string ended at 2027-01-15 07:59 UTC: replace it" in caplog.text
    )
    assert metrics.SECRET_SECONDS.values()[QUEUE, "connection_string"] == -60.0


def test_a_value_that_has_changed_is_there_after_the_period(
    refresh: SecretRefresh, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=old")
    settings = _settings(f"file://{kept}")
    refresh.watch(QUEUE, settings)
    kept.write_text("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=new")
    secret = settings.secret("connection_string")
    refresh.refresh()
    assert secret.reveal().endswith("=old")
    secret._read_at -= 300.0
    refresh.refresh()
    assert secret.reveal().endswith("=new")


def test_a_store_that_fails_is_warned_of_and_counted_for_the_alert(
    refresh: SecretRefresh, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=old")
    settings = _settings(f"file://{kept}")
    refresh.watch(QUEUE, settings)
    before, secret = _errors(), settings.secret("connection_string")
    kept.unlink()
    secret._read_at -= 300.0
    with caplog.at_level(logging.WARNING, "queue_runtime"):
        refresh.refresh()
    assert _errors() == before + 1
    assert "could not be read again, and the last value is used on: the file cannot" in caplog.text
    assert secret.reveal().endswith("=old")


def test_the_thread_runs_only_where_something_can_change(refresh: SecretRefresh) -> None:
    refresh.watch(QUEUE, load_settings(environ={}))
    refresh.watch(QUEUE, _settings("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=k"))
    assert refresh._thread is None


def test_the_thread_refreshes_by_itself(refresh: SecretRefresh, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=old")
    settings = _settings(f"file://{kept}")
    refresh._period = 0.01
    refresh.watch(QUEUE, settings)
    secret = settings.secret("connection_string")
    kept.write_text("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=new")
    while secret.version == 1:  # bounded by the test's own time limit
        refresh._ended.wait(0.005)
    assert secret.reveal().endswith("=new")
