"""Reads a `local://` URL: the queue's name, its folder and its options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from queue_runtime.errors import QueueNotFoundError

DEAD_LETTER: Final = "dead-letter"
_OPTIONS: Final = ("memory", "ordered", "lock", "retention", "max_deliveries")
# A name becomes a file's name, so it is what every file system takes and no path.
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}")
_TRUTH: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """A queue of this machine, or of this process.

    - `directory`: where its file is; None for a queue in memory.
    - `dead_letters`: the dead letters, instead of the queue itself.
    - `ordered`: None takes the queue as it is.
    - `lock`: seconds that a receive locks a message; None leaves it to the settings.
    - `retention`: seconds after which a message that nobody took is dead-lettered.
    - `max_deliveries`: receives after which a message that nobody settled is dead-lettered. It is
      the last resort against a message that kills its process, as SQS's maxReceiveCount is.
    """

    name: str
    directory: Path | None = None
    dead_letters: bool = False
    ordered: bool | None = None
    lock: float | None = None
    retention: float | None = None
    max_deliveries: int | None = None

    @property
    def queue(self) -> str:
        """The name that logs and metrics show."""
        return f"{self.name}/{DEAD_LETTER}" if self.dead_letters else self.name

    @property
    def path(self) -> Path | None:
        """The file that holds both the queue and its dead-letters."""
        return None if self.directory is None else self.directory / f"{self.name}.sqlite3"


def read_address(url: str, directory: str) -> LocalAddress:
    """Read a `local://` URL.

    Raises:
        QueueNotFoundError: the text says what is wrong and what may be written.
    """
    parts = urlsplit(url)
    name, path = parts.netloc, parts.path.strip("/")
    if parts.fragment:
        raise QueueNotFoundError(
            f"{url!r} names no local queue: '#{parts.fragment}' has no meaning there; leave it out"
        )
    if not _NAME.fullmatch(name):
        raise QueueNotFoundError(
            f"{url!r} names no local queue: a name has at most 80 letters, digits, '_', '-' and "
            "'.', and does not start with '.'"
        )
    if path not in ("", DEAD_LETTER):
        raise QueueNotFoundError(
            f"{url!r} names no local queue: only local://{name} and "
            f"local://{name}/{DEAD_LETTER} are there"
        )
    options = _options(url, parts.query)
    ordered = _truth(url, "ordered", options)
    return LocalAddress(
        name,
        directory=None if _truth(url, "memory", options) else Path(directory).absolute(),
        dead_letters=path == DEAD_LETTER,
        ordered=True if ordered is None and name.endswith(".fifo") else ordered,
        lock=_number(url, "lock", options),
        retention=_number(url, "retention", options),
        max_deliveries=_whole_number(url, "max_deliveries", options),
    )


def _options(url: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    wrong = [name for name in options if name not in _OPTIONS]
    if wrong or len(options) < len(pairs):
        what = f"no option {wrong[0]!r}" if wrong else "each option once only"
        raise QueueNotFoundError(f"{url!r}: a local queue has {what}; {', '.join(_OPTIONS)} are it")
    return options


def _truth(url: str, name: str, options: dict[str, str]) -> bool | None:
    text = options.get(name)
    if text is None:
        return None
    if text not in _TRUTH:
        raise QueueNotFoundError(f"{url!r}: {name} is true or false, not {text!r}")
    return _TRUTH[text]


def _number(url: str, name: str, options: dict[str, str]) -> float | None:
    text = options.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number <= 0 or not isfinite(number):
        raise QueueNotFoundError(f"{url!r}: {name} is a number above 0, not {text!r}")
    return number


def _whole_number(url: str, name: str, options: dict[str, str]) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise QueueNotFoundError(f"{url!r}: {name} is a whole number above 0, not {text!r}")
    return int(text)
