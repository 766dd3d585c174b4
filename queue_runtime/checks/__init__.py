"""Rules that say before a deployment what would go wrong after it: one module a subject."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """What a rule has to say.

    - `rule`: its name, to search for.
    - `level`: an "error" will go wrong; a "warning" may.
    - `text`: what is, what follows from it and what to change.
    """

    rule: str
    level: Literal["error", "warning"]
    text: str
