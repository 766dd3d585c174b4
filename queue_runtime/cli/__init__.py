"""The command `queue-runtime`: what an operator and a developer do from a shell."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from queue_runtime.cli import tracebacks
from queue_runtime.cli.arguments import epilog
from queue_runtime.errors import QueueRuntimeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Imported only when its command is called, since each brings what the others do not need.
_COMMANDS = {
    "config": "show every setting with its value, its source, and where it has no effect",
    "check": "say what would go wrong with a handler on its queue",
    "completion": "print what a shell completes our commands by",
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
    tracebacks.warn_if_ignored(options)
    try:
        code = int(options.run(options))
        sys.stdout.flush()  # here, where a reader that has gone is met
        return code
    except QueueRuntimeError as error:
        _tell(options, error)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, and Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _tell(options: argparse.Namespace, error: QueueRuntimeError) -> None:
    if error.__cause__ is not None and tracebacks.asked(options):
        tracebacks.show(error.__cause__)
    print(f"queue-runtime {options.command}: {error}", file=sys.stderr)  # noqa: T201


class _Version(argparse.Action):
    """Prints the version; it is looked up for nobody else."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from queue_runtime import __version__

        python = ".".join(map(str, sys.version_info[:3]))
        sys.stdout.write(f"queue-runtime {__version__} (Python {python})\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="queue-runtime",
        description="One decorated function consumes a queue, with the same outcome on every host.",
        epilog="queue-runtime COMMAND --help has examples and the environment variables.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version, and Python's"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, purpose in _COMMANDS.items():
        module = import_module(f"queue_runtime.cli.{name}")
        command = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=epilog(getattr(module, "EXAMPLES", ()), getattr(module, "SETTINGS", ())),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=parser)
    return parser
