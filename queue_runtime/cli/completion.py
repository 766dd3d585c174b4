"""`queue-runtime completion`: the script by which a shell completes our commands and options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.cli import output
from queue_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = (
    'eval "$(queue-runtime completion bash)"    # in ~/.bashrc',
    "queue-runtime completion zsh > ~/.zfunc/_queue-runtime",
)
SETTINGS: Final = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def run(options: argparse.Namespace) -> int:
    """Print the script; shtab (extra `cli`) writes it from the commands as they are."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("completion", "cli") from None
    kinds = {"file": shtab.FILE, "folder": shtab.DIRECTORY}
    for action in _actions(options.parser):
        if kind := getattr(action, "completed_by", None):
            action.complete = kinds[kind]
    output.line(shtab.complete(options.parser, shell=options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
