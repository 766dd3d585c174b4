"""Finds the handler that a command names, such as `functions.orders:take_order`."""

from __future__ import annotations

import importlib
import os
import sys
from traceback import extract_tb
from typing import Any

from queue_runtime.config import redact
from queue_runtime.errors import HandlerDefinitionError
from queue_runtime.handler import Handler


def find_handler(target: str, folder: str = ".") -> Handler[Any, Any]:
    """Import a target from a folder or the installed packages.

    A decorator over ours that keeps `__wrapped__`, as `functools.wraps` does, is seen through: it
    is run on Lambda, which calls what the module has, and by no command.

    Raises:
        HandlerDefinitionError: it cannot be imported or is no handler; says which, and what to do.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute or "/" in module_name:
        raise HandlerDefinitionError(f"{target!r} is no target: {_instead(module_name, attribute)}")
    module = _import(module_name, target, folder)
    found = getattr(module, attribute, None)
    handler = _seen_through(found)
    if handler is not None:
        if handler is not found:
            sys.stderr.write(
                f"queue-runtime: {target} has another decorator over @queue_handler, which only "
                "Lambda runs: here it is left out\n"
            )
        return handler
    if found is None:
        handlers = _handlers(module)
        known = f": it has {', '.join(handlers)}" if handlers else ", and no handler at all"
        raise HandlerDefinitionError(f"{module_name} has no {attribute!r}{known}")
    raise HandlerDefinitionError(
        f"{target} is a {type(found).__name__}, not a handler: put @queue_handler on the function"
    )


def _instead(module: str, attribute: str) -> str:
    """Say what to write instead of a path, or of a module alone."""
    if module.endswith((".json", ".jsonl")):
        return "the target comes first, as in functions.orders:take_order, and then the file"
    path = module.removesuffix(".py").removeprefix("./").strip("/")
    name = path.replace("/", ".") or "functions.orders"
    return f"write module:function, such as {name}:{attribute or 'take_order'}"


def _handlers(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if _seen_through(value) is not None]


def _seen_through(found: Any) -> Handler[Any, Any] | None:
    seen = set()
    while not isinstance(found, Handler):
        if id(found) in seen:
            return None
        seen.add(id(found))
        found = getattr(found, "__wrapped__", None)
        if found is None:
            return None
    return found


def _import(name: str, target: str, folder: str) -> Any:
    here = os.path.abspath(folder)
    if not os.path.isdir(here):
        raise HandlerDefinitionError(f"--app-dir {folder}: there is no such folder")
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except HandlerDefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise HandlerDefinitionError(_no_module(target, error.name, here)) from error
        raise HandlerDefinitionError(
            f"{target} cannot be imported: {_told(error, here)}"
        ) from error
    except SystemExit as error:
        raise HandlerDefinitionError(
            f"{target} cannot be imported: {name} ends the program{_place(error, here)}; put that "
            'behind if __name__ == "__main__":'
        ) from error
    except Exception as error:
        raise HandlerDefinitionError(
            f"{target} cannot be imported: {name} raised {_told(error, here)}"
        ) from error


def _no_module(target: str, missing: str, here: str) -> str:
    hint = ""
    if os.path.isfile(os.path.join(here, "src", *missing.split("."), "__init__.py")) or (
        os.path.isfile(os.path.join(here, "src", *missing.split(".")) + ".py")
    ):
        hint = "; it is in src: add --app-dir src"
    return (
        f"{target} cannot be imported: there is no module {missing!r} here ({here}) or among the "
        f"installed packages{hint}"
    )


def _told(error: BaseException, here: str) -> str:
    return redact(f"{type(error).__name__}: {error}{_place(error, here)}")


def _place(error: BaseException, here: str) -> str:
    """Say the line where an import failed: the innermost of the user's own, if there is one."""
    if isinstance(error, SyntaxError):
        return ""  # its text has the line
    frames = [each for each in extract_tb(error.__traceback__)[1:] if "importlib" not in each[0]]
    own = [each for each in frames if each.filename.startswith(here + os.sep)] or frames
    if not own:
        return ""
    file = own[-1].filename.removeprefix(here + os.sep)
    return f" (at {file}:{own[-1].lineno})"
