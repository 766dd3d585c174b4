"""Finds and reads the one configuration file, with parsers that are loaded only for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.config.secrets import redact
from queue_runtime.config.table import SEARCHED, SHARED, VARIABLE
from queue_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queue_runtime.config.lines import Lines

TABLE: Final = "queue-runtime"
_LARGEST: Final = 1_000_000  # bytes; a file of settings has a few thousand


class FileProblem(ValueError):
    """Says what is wrong with the file as a whole, with the fix; the loader adds it to others."""


class Contents:
    """What a file says of ours: `said` by key, as it was written, and the `lines` of the keys."""

    __slots__ = ("lines", "path", "said")

    def __init__(self, path: str, said: Mapping[object, object], lines: Lines) -> None:
        self.path, self.said, self.lines = path, said, lines

    def line(self, *keys: str) -> int:
        """Give the line of a key, or else of the table around it; 0 where it is not known."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 0)


def find(file: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> list[str]:
    """Name the file to read, then those that it hides; a file that was asked for has to be there.

    Raises:
        FileProblem: it is not there.
    """
    if file is not None:
        return [_existing(os.fspath(file), "option --config, or argument file")]
    if asked := environ.get(VARIABLE, "").strip():
        return [_existing(asked, f"environment variable {VARIABLE}")]
    ours = [name for name in SEARCHED if os.path.isfile(name)]
    return ours + [name for name in SHARED if os.path.isfile(name) and _names_us(name)]


def _existing(path: str, source: str) -> str:
    if os.path.isfile(path):
        return path
    raise FileProblem(f"{source}: there is no file {path}; correct the path or leave it out")


def _names_us(path: str) -> bool:
    """Tell whether a file of a common name speaks of us, without parsing what is another's."""
    try:
        with open(path, "rb") as stream:
            return TABLE.encode() in stream.read(_LARGEST)
    except OSError:
        return False


def read(path: str) -> Contents | None:
    """Give what a file says of ours; None where a file of a common name has no table of ours.

    Raises:
        FileProblem: the file cannot be read, or is no table of settings.
        MissingExtraError: it is YAML, and no YAML parser is installed.
    """
    parse = _parser(path)
    text = _text(path)
    root, lines = parse(path, text)
    shared = os.path.basename(path) in SHARED
    if shared and (not isinstance(root, dict) or TABLE not in root):
        return None
    return _ours(path, root, lines, alone=not shared)


def _text(path: str) -> str:
    try:
        if os.path.getsize(path) > _LARGEST:
            raise FileProblem(f"file {path}: is larger than {_LARGEST:,} bytes; name the right one")
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise FileProblem(f"file {path}: cannot be read: {reason}; correct that") from None


def _parser(path: str) -> Callable[[str, str], tuple[Any, Lines]]:
    extension = os.path.splitext(path)[1].lower()
    if extension == ".toml":
        return _toml
    if extension in (".yaml", ".yml"):
        return _yaml
    raise FileProblem(
        f"file {path}: is neither TOML nor YAML by its name; end it in .toml or .yaml"
    )


def _toml(path: str, text: str) -> tuple[Any, Lines]:
    import tomllib

    from queue_runtime.config.lines import toml_lines

    try:
        return tomllib.loads(text), toml_lines(text)
    except ValueError as error:
        raise FileProblem(f"file {path}: is not TOML: {redact(str(error))}") from None
    except RecursionError:
        raise FileProblem(f"file {path}: is nested too deeply; a table is enough") from None


def _yaml(path: str, text: str) -> tuple[Any, Lines]:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError(f"the configuration file {path}", "yaml") from None
    from queue_runtime.config.lines import too_many_aliases, yaml_lines

    try:
        if too_many_aliases(text):
            raise FileProblem(f"file {path}: repeats itself by too many aliases; write it out")
        root, lines = yaml.safe_load(text), yaml_lines(text)
    except FileProblem:
        raise
    except RecursionError:
        raise FileProblem(f"file {path}: is nested too deeply; a table is enough") from None
    # Whatever else its parser meets in a stranger's file (a date without a day, a key that is a
    # list) is the file's fault.
    except Exception as error:
        # Its text quotes the line, which can be the one with the secret: the place is enough.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FileProblem(f"file {path}: is not YAML{place}; correct it") from None
    return ({} if root is None else root), lines


def _ours(path: str, root: Any, lines: Lines, *, alone: bool) -> Contents:
    """Take the keys from the root, or from a table of our name that then has to stand alone."""
    if not isinstance(root, dict):
        raise FileProblem(f"file {path}: holds no settings; write one a line, with its value")
    if TABLE not in root:
        return Contents(path, root, lines)
    if not isinstance(root[TABLE], dict):
        raise FileProblem(f"file {path}: {TABLE} is no table; write [{TABLE}] above the settings")
    if alone and (beside := [redact(str(key))[:100] for key in root if key != TABLE]):
        raise FileProblem(
            f"file {path}: {', '.join(beside)} beside the table [{TABLE}]; move into it, or remove"
        )
    within = {keys[1:]: line for keys, line in lines.items() if keys[:1] == (TABLE,) and keys[1:]}
    return Contents(path, root[TABLE], within)
