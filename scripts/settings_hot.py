"""Writes queue_runtime/config/hot.py from the table of settings:  settings_hot [--check]."""

from __future__ import annotations

import sys

from queue_runtime.config.table import SEARCHED, SETTINGS, SHARED, VARIABLE
from scripts import generated

PAGE = generated.ROOT / "queue_runtime" / "config" / "hot.py"
_HEAD = '''\
"""What a start needs of the table of settings, written by `make generate` from table.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

'''
# On a host whose transport is known, what that cannot use is known too.
_PLACES = {
    "lambda": ("lambda", "sqs"),
    "functions": ("functions", "servicebus"),
    "poll": ("poll", "sqs", "servicebus", "local"),
}


def page(_current: str) -> str:
    """Give the whole module."""
    defaults = {name: setting.default for name, setting in SETTINGS.items()}
    plain = {
        name: setting.environment
        for name, setting in SETTINGS.items()
        if setting.kind is str
        and not setting.choices
        and not setting.secret
        and all(v.startswith("AWS_") or v == "QUEUE_NAME" for v in setting.environment)
    }
    lines = [
        f'VARIABLE: Final = "{VARIABLE}"',
        f"SEARCHED: Final = {_lines(tuple(map(repr, (*SEARCHED, *SHARED))))}",
        f"DEFAULTS: Final[Mapping[str, object]] = {_dict(defaults)}",
        "# Settings whose text is taken as it is, where it is no URL.",
        f"PLAIN: Final[Mapping[str, tuple[str, ...]]] = {_dict(plain)}",
        "# What may have no effect, by host.",
        "UNUSABLE: Final[Mapping[str, frozenset[str]]] = {",
        *(
            f'    "{host}": frozenset(\n        {_lines(_unusable(host), 8)}\n    ),'
            for host in _PLACES
        ),
        "}",
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _unusable(host: str) -> tuple[str, ...]:
    places = _PLACES[host]
    return tuple(
        repr(name)
        for name, setting in SETTINGS.items()
        if any(key.partition(":")[0] in places for key in setting.unusable)
        and not (setting.shared and host == "lambda")
    )


def _dict(values: dict[str, object] | dict[str, tuple[str, ...]]) -> str:
    rows = "".join(f'    "{name}": {_quoted(value)},\n' for name, value in values.items())
    return f"{{\n{rows}}}"


def _lines(texts: tuple[str, ...], indent: int = 0) -> str:
    space = " " * indent
    rows = "".join(f"{space}    {text},\n" for text in texts).replace("'", '"')
    return f"(\n{rows}{space})"


def _quoted(value: object) -> str:
    return repr(value).replace("'", '"')


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
