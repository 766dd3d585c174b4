"""Reads what a handler takes: of a function, a bound method, a partial or a callable object."""

from __future__ import annotations

import sys
from functools import WRAPPER_UPDATES, partial, update_wrapper
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

from queue_runtime.errors import HandlerDefinitionError

_READABLE = (FunctionType, MethodType, partial)
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


class _Open(NamedTuple):
    """What remains to be given to a callable.

    - `outer`: the function that is called first.
    - `inner`: the author's function, under all decorators and partials.
    - `positional`: its parameters, in order, each with whether it has to be given.
    - `keywords`: those that have to be given by name.
    """

    outer: FunctionType
    inner: FunctionType
    positional: list[tuple[str, bool]]
    keywords: set[str]


def plain(function: Any) -> Any:
    """Give the function inside a static method; all else as it is.

    Raises:
        HandlerDefinitionError: this is nothing that can be called with a message.
    """
    if isinstance(function, staticmethod):
        return function.__func__
    if isinstance(function, classmethod):
        name = function.__func__.__qualname__
        raise HandlerDefinitionError(
            f"{name_of(function.__func__)} is a class method, whose class is not there yet: below "
            f"the class, write {name.rpartition('.')[2]} = queue_handler({name})"
        )
    if isinstance(function, _READABLE) or _has_call(function):
        return function
    raise HandlerDefinitionError(
        "@queue_handler goes on a function (def or async def), a bound method, a partial, or an "
        f"object with a method __call__, not on {function!r}"
    )


def name_of(function: Any) -> str:
    """Give module and qualified name: of the function, or of a callable object's class."""
    known = _named(function)
    return f"{known.__module__}.{known.__qualname__}"


def name_alike(handler: Any, function: Any) -> None:
    """Give a handler the name, docstring and attributes of the function that it runs."""
    known = _named(function)
    update_wrapper(handler, known, updated=() if isinstance(known, type) else WRAPPER_UPDATES)
    handler.__wrapped__ = function


def _named(function: Any) -> Any:
    # A partial has no name of its own, and neither has a callable object.
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, FunctionType | MethodType | staticmethod):
        return function
    return type(function)


def only_parameter(function: Any, name: str) -> tuple[str, Any]:
    """Give the name and the annotation of the one argument that has to be given.

    Raises:
        HandlerDefinitionError: there is not exactly one, or its annotation cannot be read.
    """
    _, inner, positional, keywords = _open(function)
    required = [each for each, must in positional if must]
    if not positional or len(required) > 1 or keywords:
        raise HandlerDefinitionError(
            f"{name} must take exactly one argument: the body, Message[...] or Batch[...]"
            + _about_methods(name, positional)
        )
    parameter = positional[0][0]
    annotation = _annotation(inner, parameter)
    if annotation is None:
        raise HandlerDefinitionError(
            f"{name} does not say what {parameter!r} is: write {parameter}: dict, a model of "
            f"yours, Message[...] or Batch[...]"
        )
    return parameter, _resolve(annotation, parameter, inner, name)


def is_async(function: Any, name: str) -> bool:
    """Tell whether calling it gives a coroutine.

    Raises:
        HandlerDefinitionError: calling it gives a generator.
    """
    opened = _open(function)
    flags = {each.__code__.co_flags for each in (opened.outer, opened.inner)}
    if any(flag & (_CO_GENERATOR | _CO_ASYNC_GENERATOR) for flag in flags):
        raise HandlerDefinitionError(
            f"{name} yields: calling it would run nothing of it. Take Batch[...] and loop"
        )
    return any(flag & _CO_COROUTINE for flag in flags)


def _has_call(function: Any) -> bool:
    return (
        callable(function)
        and not isinstance(function, type)
        and isinstance(type(function).__call__, FunctionType)
    )


def _open(function: Any) -> _Open:
    layers: list[Any] = []  # from the outside in
    functions: list[FunctionType] = []
    while function is not None:
        if isinstance(function, FunctionType):
            functions.append(function)
            # A decorator under ours shows its own (*args, **kwargs); the author's function counts.
            wrapped = getattr(function, "__wrapped__", None)
            function = wrapped if isinstance(wrapped, _READABLE) else None
        else:
            layers.append(function)
            function = _inside(function)
    found = _of_code(functions[0], functions[-1])
    for layer in reversed(layers):
        found = _after(layer, found)
    return found


def _inside(function: Any) -> Any:
    if isinstance(function, partial):
        return function.func
    return function.__func__ if isinstance(function, MethodType) else type(function).__call__


def _of_code(outer: FunctionType, inner: FunctionType) -> _Open:
    code = inner.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    positional, keywords = names[: code.co_argcount], names[code.co_argcount :]
    required = len(positional) - len(inner.__defaults__ or ())
    return _Open(
        outer,
        inner,
        [(each, at < required) for at, each in enumerate(positional)],
        set(keywords) - set(inner.__kwdefaults__ or ()),
    )


def _after(layer: Any, found: _Open) -> _Open:
    """Take away what a partial, or the object of a method, gives."""
    positional, keywords = found.positional, found.keywords
    if not isinstance(layer, partial):
        return found._replace(positional=positional[1:])
    positional = positional[len(layer.args) :]
    by_name = [at for at, (each, _) in enumerate(positional) if each in layer.keywords]
    if by_name:  # what follows a parameter that is given by name can be given by name only
        rest = {each for each, must in positional[by_name[0] :] if must}
        keywords, positional = keywords | rest, positional[: by_name[0]]
    return found._replace(positional=positional, keywords=keywords - set(layer.keywords))


def _about_methods(name: str, positional: list[tuple[str, bool]]) -> str:
    if not positional or positional[0][0] not in ("self", "cls"):
        return ""
    *owner, method = name.split(".")[-2:]
    made = f"{''.join(owner)}()" if positional[0][0] == "self" else "".join(owner)
    return (
        f". It is a method, and no object is there yet: below the class, write {method} = "
        f"queue_handler({made}.{method})"
    )


def _annotation(inner: FunctionType, parameter: str) -> Any:
    try:
        annotations = inner.__annotations__
    except Exception:  # pragma: no cover - `make test-newest` runs it
        # Python 3.14 evaluates all annotations when the first is asked for (PEP 649), and a return
        # type may be there for type checkers alone.
        annotations = _forward_references(inner)
    return annotations.get(parameter)


def _forward_references(inner: FunctionType) -> dict[str, Any]:  # pragma: no cover
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations  # costs 20 ms, which few have to pay

        return get_annotations(inner, format=Format.FORWARDREF)
    raise AssertionError("annotations are not evaluated late before Python 3.14")


def _resolve(annotation: Any, parameter: str, inner: FunctionType, name: str) -> Any:
    # Only this annotation is evaluated: a return type may be there for type checkers alone.
    holder = SimpleNamespace(__annotations__={parameter: annotation})
    try:
        return get_type_hints(holder, inner.__globals__, include_extras=True)[parameter]
    except NameError as error:
        raise HandlerDefinitionError(
            f"{name}: the annotation of {parameter!r} names {error.name!r}, which is not defined "
            "when the function is: import or define it at module level, not under TYPE_CHECKING"
        ) from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise HandlerDefinitionError(
            f"{name}: the annotation of {parameter!r} cannot be read: {error}"
        ) from error
