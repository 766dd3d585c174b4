"""Finds mistakes before a deployment: one module for each subject."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """Describes one mistake that a rule found.

    - `rule`: its name, to search for.
    - `level`: an "error" will go wrong; a "warning" may.
    - `text`: the thing, its state, the consequence and the fix.
    """

    rule: str
    level: Literal["error", "warning"]
    text: str
