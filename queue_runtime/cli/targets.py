"""Finds the handler that a command names, such as `functions.orders:take_order`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from queue_runtime.errors import HandlerDefinitionError
from queue_runtime.handler import Handler


def find_handler(target: str) -> Handler[Any, Any]:
    """Import a target from the working directory or the installed packages.

    Raises:
        HandlerDefinitionError: it cannot be imported or is no handler; says which, and what to do.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise HandlerDefinitionError(
            f"{target!r} is no target: write module:function, such as functions.orders:take_order"
        )
    module = _import(module_name, target)
    found = getattr(module, attribute, None)
    if isinstance(found, Handler):
        return found
    if found is None:
        handlers = [name for name, value in vars(module).items() if isinstance(value, Handler)]
        known = f": it has {', '.join(handlers)}" if handlers else ", and no handler at all"
        raise HandlerDefinitionError(f"{module_name} has no {attribute!r}{known}")
    raise HandlerDefinitionError(
        f"{target} is a {type(found).__name__}, not a handler: put @queue_handler on the function"
    )


def _import(name: str, target: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except HandlerDefinitionError:
        raise
    except ModuleNotFoundError as error:
        raise HandlerDefinitionError(
            f"{target} cannot be imported: there is no module {error.name!r} here ({here}) or "
            "among the installed packages"
        ) from error
    except Exception as error:
        raise HandlerDefinitionError(
            f"{target} cannot be imported: {name} raised {type(error).__name__}: {error}"
        ) from error
