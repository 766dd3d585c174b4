"""`queue-runtime config`: shows every setting with its value, its source and what it replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from queue_runtime.cli import arguments, output
from queue_runtime.cli.output import json_line, line, sentence, table
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.errors import SettingsError
from queue_runtime.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from queue_runtime.config import Settings
    from queue_runtime.config.explain import Explanation

EXAMPLES: Final = (
    "queue-runtime config functions.orders:take_order",
    "queue-runtime config functions.orders:take_order concurrency QUEUE_DLQ_NAME",
    "queue-runtime config --said --json",
    "queue-runtime config --schema > queue-runtime.schema.json",
)
SETTINGS: Final = ("queue", "environment")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="TARGET|KEY",
        help="a handler, such as functions.orders:take_order, and settings to show in full",
    )
    parser.add_argument("--queue", metavar="URL", help="its queue, as poll takes it")
    folder = parser.add_argument(
        "--app-dir", default=".", metavar="FOLDER", help=arguments.APP_DIR_HELP
    )
    arguments.complete_by("folder", folder)
    arguments.add_config(parser)
    parser.add_argument("--said", action="store_true", help="leave out what has its default")
    parser.add_argument("--schema", action="store_true", help="print the file's JSON schema")
    arguments.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Show settings; what is wrong with them is told as at a start."""
    if options.schema:
        from queue_runtime.config.schema import file_schema

        json_line(file_schema())
        return 0
    targets = [word for word in options.words if ":" in word]
    if len(targets) > 1:
        raise SettingsError(f"{' and '.join(targets)} are two handlers: show one at a time")
    with output.handlers_print_to_stderr():
        settings = _settings(targets, options)
    keys = [word for word in options.words if word not in targets]
    rows = _chosen(settings.explain(), keys, said=options.said)
    as_json = output.as_json(options)
    if as_json:
        for row in rows:
            json_line(row.as_dict())
    elif keys:
        for row in rows:
            _print_whole(row)
    else:
        _print_table(rows)
    for warning in () if as_json else settings.warnings:
        sentence(f"warning: {warning}")
    return 0


def _settings(targets: Sequence[str], options: argparse.Namespace) -> Settings:
    author: dict[str, object] = {}
    for target in targets:
        author = find_handler(target, options.app_dir).definition.settings
    return load_settings(author, file=options.config, arguments={"--queue": options.queue})


def _chosen(rows: list[Explanation], keys: Sequence[str], *, said: bool) -> list[Explanation]:
    names = {row.name: row for row in rows}
    names |= {variable: row for row in rows for variable in row.variables}
    for key in keys:
        if key not in names:
            raise SettingsError(f"{key} is no setting{_suggestion(key, list(names))}")
    chosen = [names[key] for key in keys] or rows
    return [row for row in chosen if not said or row.layer != "default"]


def _suggestion(key: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]}?" if close else ": see queue-runtime config for all"


def _print_table(rows: Sequence[Explanation]) -> None:
    cells = [(row.name, row.value, row.source) for row in rows]
    table("", ("setting", "value", "from"), cells, whole=1)
    for row in rows:
        if row.no_effect and row.layer != "default":
            places = "; ".join(f"{place}: {why}" for place, why in row.no_effect.items())
            sentence(f"{row.name} has no effect on {places}")


def _print_whole(row: Explanation) -> None:
    facts: list[tuple[str, Any]] = [
        ("from", row.source),
        *(("over", f"{value} ({source})") for source, value in row.shadows),
        ("default", row.default),
        ("takes", row.takes),
        ("variables", ", then ".join(row.variables)),
        *(("no effect", f"{place}: {why}") for place, why in row.no_effect.items()),
    ]
    line(f"{row.name} = {printable(row.value)}")
    line(f"  {row.meaning}")
    for name, text in facts:
        line(f"  {name:<10} {printable(text)}")
