"""Finds the lines of a file on which its keys stand, for errors and for `queue-runtime config`."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

# The line of each key, by the names of the tables around it and its own.
Lines: TypeAlias = dict[tuple[str, ...], int]

_KEY: Final = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z0-9_-]+)"
_KEYS: Final = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER: Final = re.compile(rf"[ \t]*\[[ \t]*({_KEYS})[ \t]*\]")
_PAIR: Final = re.compile(rf"[ \t]*({_KEYS})[ \t]*=(.*)")
_PART: Final = re.compile(r"\"([^\"\n]*)\"|'([^'\n]*)'|([A-Za-z0-9_-]+)")
_MOST_ALIASES: Final = 20
_DEEPEST: Final = 6


def toml_lines(text: str) -> Lines:
    """Find them in TOML, whose parser does not tell them; a text of several lines is passed over.

    What is missed is told without its line, so this need not know all of TOML.
    """
    found: Lines = {}
    table: tuple[str, ...] = ()
    until = ""
    for number, line in enumerate(text.split("\n"), 1):
        if until:
            until = "" if until in line else until
        elif header := _HEADER.match(line):
            table = _names(header[1])
            found.setdefault(table, number)
        elif pair := _PAIR.match(line):
            found.setdefault((*table, *_names(pair[1])), number)
            opened = next((q for q in ('"""', "'''") if pair[2].lstrip().startswith(q)), "")
            until = opened if opened and pair[2].count(opened) == 1 else ""
    return found


def _names(keys: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(keys))


def yaml_lines(text: str) -> Lines:
    """Find them in YAML, which has to be free of mistakes."""
    import yaml

    found: Lines = {}
    _note(yaml.compose(text, Loader=yaml.SafeLoader), (), found)
    return found


def _note(node: Any, table: tuple[str, ...], found: Lines) -> None:
    if getattr(node, "id", "") != "mapping" or len(table) > _DEEPEST:
        return
    for key, value in node.value:
        name = (*table, str(key.value))
        found.setdefault(name, key.start_mark.line + 1)
        _note(value, name, found)


def too_many_aliases(text: str) -> bool:
    """Tell whether aliases could make much of little: each merge of them multiplies."""
    import yaml

    events = yaml.parse(text, Loader=yaml.SafeLoader)
    return sum(isinstance(event, yaml.AliasEvent) for event in events) > _MOST_ALIASES
