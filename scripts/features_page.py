"""Writes the table of docs/transports/index.md from the flags that choose the conformance tests.

features_page [--check]; the footnotes are those of docs/transports/features.toml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from typing import Final

from queue_runtime.testing.conformance import Features
from scripts import generated
from tests.conformance.features import LOCAL, SERVICE_BUS, SERVICE_BUS_SESSIONS, SQS

PAGE: Final = generated.DOCS / "transports" / "index.md"
NOTES: Final = generated.DOCS / "transports" / "features.toml"
# A second entry is for queues with sessions.
TRANSPORTS: Final = {
    "local": ("[local queue](local.md)", (LOCAL,)),
    "sqs": ("[SQS](sqs.md)", (SQS,)),
    "service_bus": ("[Service Bus](service-bus.md)", (SERVICE_BUS, SERVICE_BUS_SESSIONS)),
}


def page(current: str) -> str:
    """Put the table and its footnotes between the page's markers."""
    notes = read_notes()
    head = ["", *(title for title, _ in TRANSPORTS.values())]
    rows = [
        [text, *(answer(flag, key) + _reference(notes, flag, key) for key in TRANSPORTS)]
        for flag, text in words().items()
    ]
    footnotes = [
        f"[^{flag}-{key}]: {note}" for flag in words() for key, note in notes.get(flag, {}).items()
    ]
    block = "\n\n".join([generated.table(head, *rows), *footnotes])
    return generated.between_markers(current, "features", block)


def words() -> dict[str, str]:
    """Give what the flags' own documentation says of each."""
    return dict(re.findall(r"- `(\w+)`: (.+)\.\n", Features.__doc__ or ""))


def answer(flag: str, transport: str) -> str:
    """Tell whether a transport has a feature."""
    has = [getattr(features, flag) for features in TRANSPORTS[transport][1]]
    if has[0] == has[-1]:
        return "yes" if has[0] else "no"
    return "not in sessions" if has[0] else "in sessions"


def read_notes() -> dict[str, dict[str, str]]:
    """Read what there is to say of a feature of a transport."""
    return tomllib.loads(NOTES.read_text())


def _reference(notes: dict[str, dict[str, str]], flag: str, transport: str) -> str:
    return f" [^{flag}-{transport}]" if transport in notes.get(flag, {}) else ""


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
