"""Reads a handler's signature once, at import: its shape, body decoder and author's options."""

from __future__ import annotations

from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, get_origin

from queue_runtime.bodies import body_decoder
from queue_runtime.errors import HandlerDefinitionError
from queue_runtime.message import Batch, Message
from queue_runtime.retry import Backoff, RetryPolicy
from queue_runtime.signatures import is_async, name_of, only_parameter, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queue_runtime.bodies import Decoder
    from queue_runtime.config import Settings
    from queue_runtime.middleware import CallMiddleware, DeliveryMiddleware
    from queue_runtime.retry import Reaction

Envelope = Literal["sns", "eventbridge", "s3"]
BatchOrder = Literal["accept_repeats"]


class Shape(Enum):
    """Names the argument of a handler: a body, a message with its metadata, or many messages."""

    BODY = "T"
    MESSAGE = "Message[T]"
    BATCH = "Batch[T]"


class Handles(Protocol):
    """Has a definition: the decorated function, or a test's own."""

    @property
    def definition(self) -> HandlerDefinition:
        """Give the function's signature and its author's options."""


def definition_of(handler: Any) -> HandlerDefinition:
    """Give what a host needs to know about a handler.

    Raises:
        HandlerDefinitionError: it is none; says what to write.
    """
    definition = getattr(handler, "definition", None)
    if isinstance(definition, HandlerDefinition):
        return definition
    if isinstance(handler, FunctionType):
        raise HandlerDefinitionError(
            f"{name_of(handler)} is a function, not a handler: put @queue_handler on it"
        )
    raise HandlerDefinitionError(
        f"a {type(handler).__name__} is no handler: give a function with @queue_handler on it"
    )


def settings_of(handler: Any, settings: Settings | None = None) -> Settings:
    """Give the settings that a handler runs by; None takes the decorator's, file and environment.

    Raises:
        HandlerDefinitionError: one of the two is something else.
        SettingsError: anything is wrong in file or environment.
    """
    from queue_runtime.config import Settings, load_settings  # a host's; a decorator needs none

    definition = definition_of(handler)
    if settings is None:
        return load_settings(definition.settings)
    if isinstance(settings, Settings):
        return settings
    raise HandlerDefinitionError(
        f"{definition.name}: settings are what load_settings() gives, not a "
        f"{type(settings).__name__}: write load_settings(arguments={{...}})"
    )


class NeedsSettings(Protocol):
    """Completes an option of the author by the operator's settings."""

    @property
    def needs_store(self) -> bool:
        """Tell whether the settings have to name a store."""

    def check(self, handler: str, body_type: Any) -> None:
        """Refuse what cannot be read from any body of the handler's.

        Raises:
            HandlerDefinitionError: with what the body has instead.
        """

    def bind(
        self, definition: HandlerDefinition, settings: Settings, *, fixed_locks: bool
    ) -> HandlerDefinition:
        """Give a copy of the definition that has the middleware for this option."""


class HandlerDefinition:
    """All that a host needs to know about a handler; nothing in it knows a host.

    Args:
        function: the user's function of one argument; a bound method, a partial or an object with
            a method `__call__` too.
        settings: the author's values of settings that an operator can override.
        backoff: delays before retries; None takes the operator's numbers.
        on_error: exception classes, each with the signal or the backoff that it stands for.
        envelope: the service that wrapped the producer's message; of several, the outermost first.
        batch_order: a batch handler's permission to run on an ordered queue.
        delivery_middleware: middleware that runs once for all messages that arrived together.
        call_middleware: middleware that runs once for each call of the function.
        idempotency: the options by which repeated messages are recognised.

    `decodes_first` tells that bodies are decoded before the delivery middleware, which then may
    decide messages by themselves.

    Raises:
        HandlerDefinitionError: the function or an option cannot work; says what to write.
    """

    __slots__ = (
        "backoff",
        "batch_order",
        "call_middleware",
        "decode",
        "decodes_first",
        "delivery_middleware",
        "envelope",
        "function",
        "idempotency",
        "is_async",
        "name",
        "on_error",
        "settings",
        "shape",
    )

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        settings: Mapping[str, object] | None = None,
        backoff: Backoff | None = None,
        on_error: Mapping[type[Exception], Reaction] | None = None,
        envelope: Envelope | Sequence[Envelope] | None = None,
        batch_order: BatchOrder | None = None,
        delivery_middleware: Sequence[DeliveryMiddleware] = (),
        call_middleware: Sequence[CallMiddleware] = (),
        idempotency: NeedsSettings | None = None,
    ) -> None:
        self.function = function = plain(function)
        self.name = name_of(function)
        parameter, annotation = only_parameter(function, self.name)
        self.shape, body_type = _shape_of(annotation, self.name, parameter)
        self.decode: Decoder = _decoder_of(body_type, self.name, parameter)
        self.is_async = is_async(function, self.name)
        self.settings = _checked_settings(settings or {}, self.name)
        if backoff is not None and not isinstance(backoff, Backoff):
            raise HandlerDefinitionError(f"{self.name}: backoff is a Backoff, not {backoff!r}")
        self.backoff = backoff
        self.on_error = dict(on_error or {})
        RetryPolicy(reactions=self.on_error)  # a wrong reaction fails here, not on the first error
        self.envelope = _envelopes(envelope, self.name)
        self.batch_order = _one_of(batch_order, ("accept_repeats",), self.name, "batch_order")
        self.delivery_middleware = _callables(delivery_middleware, self.name, "delivery_middleware")
        self.call_middleware = _callables(call_middleware, self.name, "call_middleware")
        if idempotency is not None:
            idempotency.check(self.name, body_type)
        self.idempotency = idempotency
        self.decodes_first = False

    def __repr__(self) -> str:
        kind = "async " if self.is_async else ""
        return f"<HandlerDefinition {self.name}: {kind}{self.shape.value}>"

    def bound(self, settings: Settings, *, fixed_locks: bool = False) -> HandlerDefinition:
        """Give what a host runs by: this, completed by the operator's settings.

        `fixed_locks`: locks cannot be extended on this host, as on Lambda.

        Raises:
            SettingsError: they leave out what this handler needs.
        """
        if self.idempotency is None:
            return self
        return self.idempotency.bind(self, settings, fixed_locks=fixed_locks)

    def policy(self, settings: Settings) -> RetryPolicy:
        """Combine the author's word on failures with the operator's numbers."""
        backoff = self.backoff or Backoff(
            settings.backoff_seconds, maximum=settings.max_backoff_seconds
        )
        return RetryPolicy(
            max_deliveries=settings.max_deliveries, backoff=backoff, reactions=self.on_error
        )

    def refuse_order(self, queue: str) -> None:
        """Refuse a batch handler on an ordered queue, unless its author accepts the price.

        Raises:
            HandlerDefinitionError: with what to write to accept it.
        """
        if self.shape is Shape.BATCH and self.batch_order is None:
            raise HandlerDefinitionError(
                f"{self.name} takes a Batch and {queue} is ordered: when one message fails, the "
                "later ones of its group come back even if their work is done. Take one message "
                'at a time, or write @queue_handler(batch_order="accept_repeats")'
            )


def _shape_of(annotation: Any, name: str, parameter: str) -> tuple[Shape, Any]:
    for kind, shape in ((Message, Shape.MESSAGE), (Batch, Shape.BATCH)):
        if annotation is kind:
            raise HandlerDefinitionError(
                f"{name}: {parameter} is a bare {kind.__name__}: say what its body is, such as "
                f"{kind.__name__}[dict] or {kind.__name__}[bytes]"
            )
        if get_origin(annotation) is kind:
            return shape, get_args(annotation)[0]
    return Shape.BODY, annotation


def _decoder_of(body_type: Any, name: str, parameter: str) -> Decoder:
    if body_type is Any or body_type is object or body_type is type(None):
        raise HandlerDefinitionError(
            f"{name}: {parameter} could be anything: write what the body is, such as dict, bytes, "
            "or a model of yours"
        )
    try:
        return body_decoder(body_type)
    except TypeError as error:
        raise HandlerDefinitionError(f"{name}: {error}") from error


def _envelopes(value: Any, name: str) -> tuple[Envelope, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    known = get_args(Envelope)
    return tuple(_one_of(each, known, name, "envelope") for each in given if each is not None)


def _one_of(value: Any, allowed: tuple[str, ...], name: str, option: str) -> Any:
    if value is None or value in allowed:
        return value
    choices = " or ".join(repr(choice) for choice in allowed)
    raise HandlerDefinitionError(f"{name}: {option} is {choices}, not {value!r}")


def _checked_settings(settings: Mapping[str, object], name: str) -> dict[str, object]:
    """Check what the author says of settings here, and not first where a host is made of it."""
    if settings:
        from queue_runtime.config.load import problems_of  # functions that say nothing do not pay

        if problems := problems_of(settings):
            raise HandlerDefinitionError(f"{name}: {'; '.join(problems)}")
    return dict(settings)


def _callables(middleware: Any, name: str, option: str) -> tuple[Any, ...]:
    if isinstance(middleware, list | tuple) and all(map(callable, middleware)):
        return tuple(middleware)
    raise HandlerDefinitionError(
        f"{name}: {option} is a list of middleware, outermost first, even where it is one"
    )
