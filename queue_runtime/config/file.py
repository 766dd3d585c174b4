"""Finds and reads the one configuration file, with parsers that are loaded only for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.config.secrets import redact
from queue_runtime.config.table import SEARCHED, VARIABLE
from queue_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TABLE: Final = "queue-runtime"


class FileProblem(ValueError):
    """What is wrong with the file as a whole, and the fix; the loader adds it to the others."""


def find(file: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> list[str]:
    """Name the file to read, then those that it hides; a file that was asked for has to be there.

    Raises:
        FileProblem: it is not there.
    """
    if file is not None:
        return [_existing(os.fspath(file), "option --config, or argument file")]
    if asked := environ.get(VARIABLE, "").strip():
        return [_existing(asked, f"environment variable {VARIABLE}")]
    return [name for name in SEARCHED if os.path.isfile(name)]


def _existing(path: str, source: str) -> str:
    if os.path.isfile(path):
        return path
    raise FileProblem(f"{source}: there is no file {path}; correct the path or leave it out")


def read(path: str) -> dict[object, object]:
    """Give the file's settings by key, as they were written.

    Raises:
        FileProblem: the file cannot be read, or is no table of settings.
        MissingExtraError: it is YAML, and no YAML parser is installed.
    """
    parse = _parser(path)
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise FileProblem(f"file {path}: cannot be read: {reason}; correct that") from None
    return _settings(path, parse(path, text))


def _parser(path: str) -> Callable[[str, str], Any]:
    extension = os.path.splitext(path)[1].lower()
    if extension == ".toml":
        return _toml
    if extension in (".yaml", ".yml"):
        return _yaml
    raise FileProblem(
        f"file {path}: is neither TOML nor YAML by its name; end it in .toml or .yaml"
    )


def _toml(path: str, text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise FileProblem(f"file {path}: is not TOML: {redact(str(error))}") from None


def _yaml(path: str, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError(f"the configuration file {path}", "yaml") from None
    try:
        root = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        # Its text quotes the line, which can be the one with the secret: the place is enough.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FileProblem(f"file {path}: is not YAML{place}; correct it") from None
    return {} if root is None else root


def _settings(path: str, root: Any) -> dict[object, object]:
    """Take the keys from the root, or from a table of our name that then has to stand alone."""
    if not isinstance(root, dict):
        raise FileProblem(f"file {path}: holds no settings; write one a line, with its value")
    if TABLE not in root:
        return root
    if not isinstance(root[TABLE], dict):
        raise FileProblem(f"file {path}: {TABLE} is no table; write [{TABLE}] above the settings")
    if beside := [redact(str(key)) for key in root if key != TABLE]:
        raise FileProblem(
            f"file {path}: {', '.join(beside)} beside the table [{TABLE}]; move into it, or remove"
        )
    return dict(root[TABLE])
