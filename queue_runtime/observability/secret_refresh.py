"""Keeps secrets fresh while a process runs, and says in time that one of them will end."""

from __future__ import annotations

from datetime import UTC, datetime
from random import uniform
from threading import Event, Lock, Thread
from time import time
from typing import TYPE_CHECKING, Final

from queue_runtime.config import redact
from queue_runtime.config.references import Referenced, end_of
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Secret, Settings

_DAY: Final = 86_400.0
# The days before a secret's end at which it is said.
_WARN_DAYS: Final = (30, 7, 1)
# So that the processes of a service do not all ask at one moment.
_JITTER: Final = 0.1


class SecretRefresh:
    """Reads the secrets of this process again on a period, on a thread of its own.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._watched: dict[tuple[str, str], Secret] = {}
        self._said: set[tuple[str, str, int]] = set()
        self._period = 0.0
        self._turn, self._ended = Lock(), Event()
        self._thread: Thread | None = None

    def watch(self, queue: str, settings: Settings) -> None:
        """Watch the secrets of some settings too, and look at once whether one ends soon."""
        with self._turn:
            for name in _watched_names(settings):
                secret = settings.secret(name)
                if secret is None:
                    continue
                self._watched[queue, name] = secret
                if isinstance(secret, Referenced):
                    self._period = min(settings.secret_seconds, self._period or _DAY)
                    secret.on_failure = lambda ref, error, q=queue, n=name: _failed(q, n, error)
            if self._period and self._thread is None:
                self._thread = Thread(target=self._run, name="secret-refresh", daemon=True)
                self._thread.start()
        self.look()

    def refresh(self) -> None:
        """Read again what is due, and look at the ends."""
        for secret in list(self._watched.values()):
            if isinstance(secret, Referenced):
                secret.refresh(self._period * (1 - _JITTER))
        self.look()

    def look(self) -> None:
        """Say which secrets end within 30, 7 and 1 days, once each."""
        now = self._clock()
        for (queue, name), secret in list(self._watched.items()):
            ends = secret.ends if isinstance(secret, Referenced) else end_of(secret.reveal())
            if ends is None:
                continue
            metrics.SECRET_SECONDS.set(ends - now, queue, name)
            due = [days for days in _WARN_DAYS if ends - now <= days * _DAY]
            if due and (queue, name, due[-1]) not in self._said:
                self._said.update((queue, name, days) for days in due)
                _say_end(queue, name, ends, now)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._period * uniform(1 - _JITTER, 1 + _JITTER)):  # noqa: S311
            self.refresh()


def _watched_names(settings: Settings) -> set[str]:
    return {*settings.secrets, "connection_string"}


def _failed(queue: str, name: str, error: Exception) -> None:
    metrics.ERRORS.add(1, queue, f"secret:{type(error).__name__}")
    events.warning(
        queue,
        "secret",
        "the secret of %s could not be read again, and the last value is used on: %s",
        name,
        redact(str(error)),
    )


def _say_end(queue: str, name: str, ends: float, now: float) -> None:
    when = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if ends <= now:
        text = "the secret of %s ended at %s: replace it"
        events.warning(queue, "secret", text, name, when)
        return
    days = (ends - now) / _DAY
    text = "the secret of %s ends at %s, in %.1f days: replace it before that"
    events.warning(queue, "secret", text, name, when, days)


_of_process = SecretRefresh()


def keep_fresh(queue: str | None, settings: Settings) -> None:
    """Keep the secrets of some settings fresh for as long as the process runs."""
    _of_process.watch(queue or "", settings)
