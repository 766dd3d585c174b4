"""The command `queue-runtime`: what an operator and a developer do from a shell."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from queue_runtime.errors import QueueRuntimeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Imported only when its command is called, since each brings what the others do not need.
_COMMANDS = {
    "config": "show every setting with its value, its source, and where it has no effect",
    "check": "say what would go wrong with a handler on its queue",
    "invoke": "run a handler over a file of events, as Lambda or Azure Functions would",
    "poll": "consume a queue with a handler, until it is told to stop",
    "send": "put messages into a queue",
    "stats": "show how much is in queues, once or again and again",
}

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one sentence on stderr and exit code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()  # here, where a reader that has gone is met
        return code
    except QueueRuntimeError as error:
        print(f"queue-runtime {options.command}: {error}", file=sys.stderr)  # noqa: T201
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, and Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="queue-runtime",
        description="One decorated function consumes a queue, with the same outcome on every host.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, purpose in _COMMANDS.items():
        command = commands.add_parser(
            name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}."
        )
        module = import_module(f"queue_runtime.cli.{name}")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
