"""Declares what several commands take, so that one option means the same in each of them."""

from __future__ import annotations

import argparse
from math import inf
from typing import TYPE_CHECKING, Final, Literal

from queue_runtime.config.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APP_DIR_HELP: Final = "where modules are looked for first, such as src (the working directory)"
_CODES: Final = "Exit codes: 0 done, 1 something was not, 2 a mistake in what was asked."


def seconds(*, above: bool = False) -> Callable[[str], float]:
    """Make what reads a number of seconds; `above` refuses 0, and NaN is always refused."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (0 <= value < inf) or (above and value == 0):
            least = "above 0" if above else "of 0 or more"
            raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds {least}")
        return value

    return read


def add_target(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare the handler, and where its module is found."""
    help = "a handler, such as functions.orders:take_order"
    if several:
        parser.add_argument("targets", nargs="+", metavar="target", help=help)
    else:
        parser.add_argument("target", help=help)
    folder = parser.add_argument(
        "--app-dir",
        default=".",
        metavar="FOLDER",
        help=APP_DIR_HELP,
    )
    complete_by("folder", folder)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare the settings file."""
    file = parser.add_argument("--config", metavar="FILE", help="a settings file, TOML or YAML")
    complete_by("file", file)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare how results are written to stdout: the same rule for every command."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="JSON lines even at a terminal")
    shown.add_argument("--table", action="store_true", help="a table even without a terminal")


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Declare the developer's switch."""
    parser.add_argument(
        "--traceback",
        action="store_true",
        help="show errors of the handler whole on stderr: text, cause and traceback, and with them "
        "perhaps a message's body",
    )


def complete_by(kind: Literal["file", "folder"], argument: argparse.Action) -> None:
    """Let a shell complete an argument's value with names of files or folders."""
    argument.completed_by = kind  # type: ignore[attr-defined]


def epilog(examples: Sequence[str], settings: Sequence[str]) -> str:
    """Write what stands below a command's options: examples, and variables that it reads."""
    variables = {SETTINGS[name].environment[0]: SETTINGS[name].meaning for name in settings}
    width = max(map(len, variables), default=0)
    lines = ["examples:", *(f"  {example}" for example in examples), ""]
    if variables:
        lines += ["environment variables:"]
        lines += [f"  {variable:<{width}}  {meaning}" for variable, meaning in variables.items()]
        lines += [""]
    return "\n".join([*lines, _CODES])
