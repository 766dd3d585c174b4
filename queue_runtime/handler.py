"""`@queue_handler`: ties a function's definition to the hosts; the object that users hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from queue_runtime.definition import HandlerDefinition
from queue_runtime.signatures import name_alike

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Literal

    from queue_runtime.definition import BatchOrder, Envelope
    from queue_runtime.hosts.aws_lambda.event import LambdaReply
    from queue_runtime.hosts.aws_lambda.host import LambdaContext, LambdaHost
    from queue_runtime.idempotency.keys import Key
    from queue_runtime.idempotency.options import Idempotency
    from queue_runtime.idempotency.store import IdempotencyStore
    from queue_runtime.middleware import CallMiddleware, DeliveryMiddleware
    from queue_runtime.retry import Backoff, Reaction

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT", "None", "Coroutine[Any, Any, None]")


class Handler(Generic[ArgumentT, ResultT]):
    """A function that consumes a queue, called by arity.

    With one argument it is the plain function, for unit tests: no decoding, no middleware, and a
    coroutine if it is async. With `(event, context)` it is the Lambda entry point, for both kinds.
    Every other host takes the object itself.
    """

    definition: HandlerDefinition
    __name__: str
    __qualname__: str

    def __init__(
        self, function: Callable[[ArgumentT], ResultT], definition: HandlerDefinition
    ) -> None:
        name_alike(self, function)
        self.definition = definition
        self._function: Callable[[ArgumentT], ResultT] = definition.function
        self._lambda_host: LambdaHost | None = None
        if self._is_entry_point():
            self.lambda_host()  # at INIT, so that a wrong setting fails there and not on a message

    @overload
    def __call__(self, argument: ArgumentT, /) -> ResultT: ...
    @overload
    def __call__(
        self, event: Mapping[str, Any], context: LambdaContext | None, /
    ) -> LambdaReply: ...
    def __call__(self, *arguments: Any) -> Any:
        """Call the plain function with one argument, the Lambda host with `(event, context)`."""
        if len(arguments) == 1:
            return self._function(arguments[0])
        if len(arguments) == 2:
            return self.lambda_host()(*arguments)
        raise TypeError(
            f"{self.definition.name}() takes its one argument, or a Lambda (event, context), "
            f"not {len(arguments)} arguments"
        )

    def __repr__(self) -> str:
        return f"<Handler {self.definition!r}>"

    def _is_entry_point(self) -> bool:
        """Tell whether this process is a Lambda function whose `Handler` names this one.

        Others of its module may lack a setting or a store here: they are of other functions. One
        that is named by another name, or from another module, is made on its first call. Where
        nothing is named, as in a runtime of one's own, it could be any.
        """
        if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
            return False
        named = os.environ.get("_HANDLER")
        if not named:
            return True
        module, _, name = named.rpartition(".")
        return (module.replace("/", "."), name) == (self.__module__, self.__name__)

    def lambda_host(self) -> LambdaHost:
        """Make the Lambda host on first use, by the settings of that moment, and keep it."""
        if self._lambda_host is None:
            from queue_runtime.hosts.aws_lambda.host import LambdaHost

            self._lambda_host = LambdaHost(self)
        return self._lambda_host


class _Decorator:
    """What `@queue_handler(...)` gives: typed by the function that it is put on."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(
        self, function: Callable[[ArgumentT], Coroutine[Any, Any, None]], /
    ) -> Handler[ArgumentT, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(self, function: Callable[[ArgumentT], None], /) -> Handler[ArgumentT, None]: ...
    def __call__(self, function: Any, /) -> Any:
        return Handler(function, HandlerDefinition(function, **self._options))


@overload
def queue_handler(
    function: Callable[[ArgumentT], Coroutine[Any, Any, None]], /
) -> Handler[ArgumentT, Coroutine[Any, Any, None]]: ...
@overload
def queue_handler(function: Callable[[ArgumentT], None], /) -> Handler[ArgumentT, None]: ...
@overload
def queue_handler(
    *,
    queue: str | None = None,
    max_deliveries: int | None = None,
    backoff: Backoff | None = None,
    on_error: Mapping[type[Exception], Reaction] | None = None,
    dead_letter: str | None = None,
    envelope: Envelope | Sequence[Envelope] | None = None,
    concurrency: int | None = None,
    delayed_retries: bool | None = None,
    batch_order: BatchOrder | None = None,
    preload: Literal["init"] | None = None,
    tracing: Literal["otel", "xray"] | None = None,
    idempotency_key: Key = None,
    idempotency: Idempotency | IdempotencyStore | str | None = None,
    delivery_middleware: Sequence[DeliveryMiddleware] = (),
    call_middleware: Sequence[CallMiddleware] = (),
) -> _Decorator: ...
def queue_handler(
    function: Any = None,
    /,
    *,
    queue: str | None = None,
    max_deliveries: int | None = None,
    backoff: Backoff | None = None,
    on_error: Mapping[type[Exception], Reaction] | None = None,
    dead_letter: str | None = None,
    envelope: Envelope | Sequence[Envelope] | None = None,
    concurrency: int | None = None,
    delayed_retries: bool | None = None,
    batch_order: BatchOrder | None = None,
    preload: Literal["init"] | None = None,
    tracing: Literal["otel", "xray"] | None = None,
    idempotency_key: Key = None,
    idempotency: Idempotency | IdempotencyStore | str | None = None,
    delivery_middleware: Sequence[DeliveryMiddleware] = (),
    call_middleware: Sequence[CallMiddleware] = (),
) -> Any:
    """Make a function of one argument consume a queue, on every host; with or without parentheses.

    The argument's annotation decides what arrives: `T` (the body: a pydantic model, dataclass,
    TypedDict, `dict`, `str`, `bytes`), `Message[T]` (with metadata) or `Batch[T]` (many at once).
    Returning acknowledges; `Retry`, `DeadLetter` and `Discard` decide; any other exception is
    retried with backoff until `max_deliveries`, and then dead-lettered. A message is delivered at
    least once, so it may be delivered again after its work is done.

    Args:
        queue: its name, where the host does not already say it.
        max_deliveries: how often a message is tried before it is dead-lettered (4).
        backoff: the delays between tries; 1 s, doubling up to 900 s, with full jitter.
        on_error: exception classes to treat as a signal, or to retry by a backoff of their own.
        dead_letter: where dead-letters go: a queue's name, ARN or URL. On Lambda, without one, they
            are retried until the queue's redrive policy moves them.
        envelope: "sns", "eventbridge" or "s3", to take the producer's message out of it first; or
            several, the outermost first, such as ["sns", "s3"].
        concurrency: how many async calls run together (10).
        delayed_retries: on Service Bus, delay every retry by a scheduled copy of the message; else
            only `Retry(after=...)` is delayed, and all others come back at once.
        batch_order: "accept_repeats" lets a batch handler run on ordered queues, where a failure
            brings back the later messages of its group even if their work is done.
        preload: "init" loads the AWS SDK while Lambda initialises.
        tracing: "otel" records spans with OpenTelemetry; "xray", on Lambda, with the X-Ray SDK.
        idempotency_key: what makes two messages the same: a function of the message, or a path into
            its body such as "order.id", or several. A message whose work is done is then
            acknowledged unrun.
        idempotency: an `Idempotency` with more options, or only its store or the store's URL; on
            its own, messages are told by their ids.
        delivery_middleware: around all messages that a host hands over, outermost first.
        call_middleware: around each call of the function, outermost first.

    Raises:
        HandlerDefinitionError: at import; says what to write instead.
    """
    settings: dict[str, object] = {
        "queue": queue,
        "max_deliveries": max_deliveries,
        "dead_letter": dead_letter,
        "concurrency": concurrency,
        "delayed_retries": delayed_retries,
        "preload": preload,
        "tracing": tracing,
    }
    options = None
    if idempotency_key is not None or idempotency is not None:
        from queue_runtime.idempotency.options import combined  # for those who ask

        options = combined(idempotency_key, idempotency)
        settings |= options.settings()
    decorator = _Decorator(
        {
            "settings": {name: value for name, value in settings.items() if value is not None},
            "backoff": backoff,
            "on_error": on_error,
            "envelope": envelope,
            "batch_order": batch_order,
            "delivery_middleware": delivery_middleware,
            "call_middleware": call_middleware,
            "idempotency": options,
        }
    )
    return decorator if function is None else decorator(function)
