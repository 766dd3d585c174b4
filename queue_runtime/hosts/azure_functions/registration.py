"""Puts a Service Bus trigger with everything right on an azure.functions app."""

from __future__ import annotations

import os
import typing
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from queue_runtime.config.load import refuse_rebinding
from queue_runtime.definition import Shape, settings_of
from queue_runtime.errors import HandlerDefinitionError, MissingExtraError, QueueNotFoundError
from queue_runtime.hosts.azure_functions.host import DEAD_LETTERS, FunctionsHost, Source
from queue_runtime.hosts.azure_functions.options import (
    check_entity,
    check_values,
    checked_definition,
    refuse_unknown,
)
from queue_runtime.hosts.azure_functions.timeouts import app_folders, invocation_seconds
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.clouds.azure_settlement import Settles
    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition, Handles
    from queue_runtime.hosts.azure_functions.settling import Sends

Entity: TypeAlias = dict[str, str]

_names: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
# Of each app the handlers whose queues the settings name.
_settings_of: WeakKeyDictionary[Any, list[tuple[str, object, Settings]]] = WeakKeyDictionary()


def register(
    app: Any,
    handler: Handles,
    *,
    connection: str,
    queue: str | None = None,
    topic: str | None = None,
    subscription: str | None = None,
    sessions: bool = False,
    name: str | None = None,
    max_batch: int | None = None,
    timeout: float | None = None,
    renew_locks: bool = False,
    settings: Settings | None = None,
    settlement: Settles | None = None,
    make_sender: Callable[[], Sends] | None = None,
    **others: object,
) -> FunctionsHost:
    """Make a handler a function of the app, triggered by a queue or by a topic's subscription.

    Args:
        app: an `azure.functions.FunctionApp` or Blueprint.
        handler: the decorated function.
        connection: the app setting with the connection string, or the group of settings
            NAME__fullyQualifiedNamespace… with an identity.
        queue: its name; None takes the decorator's or the operator's. `%NAME%` is an app setting.
        topic: instead of a queue, together with `subscription`.
        subscription: of the topic.
        sessions: the queue or subscription has sessions.
        name: of the function; None takes the handler's.
        max_batch: how many messages a batch handler gets at most; None leaves it to host.json.
        timeout: seconds that an invocation may take; None reads functionTimeout as the host does.
        renew_locks: keep a batch's locks while the handler runs.
        settings: None reads file and environment.
        settlement: settles single messages; None uses the host's own service.
        make_sender: makes what sends delayed copies; None uses the SDK and `connection`.
        others: refused, each with the reason.

    Raises:
        HandlerDefinitionError: the app would not start, or an option would be ignored.
    """
    definition = checked_definition(app, handler)
    title = definition.name
    refuse_unknown(title, others)
    function_name = title.rpartition(".")[2] if name is None else name
    check_values(
        definition,
        connection=connection,
        name=function_name,
        max_batch=max_batch,
        timeout=timeout,
        sessions=sessions,
        renew_locks=renew_locks,
    )
    known = settings_of(handler, settings)
    if queue is None and topic is None:
        _refuse_rebinding(app, definition, known)
    entity, says_sessions = _entity(title, known, queue, topic, subscription)
    check_entity(title, entity)
    sessions = sessions or says_sessions
    source = Source(_label(entity), connection, sessions, entity.get("subscription_name"))
    if sessions and definition.shape is Shape.BATCH:
        definition.refuse_order(source.name)
    _take_name(app, function_name, title)
    if timeout is None:
        timeout = invocation_seconds(os.environ, app_folders(os.environ))
    host = FunctionsHost(
        handler,
        source,
        settings=known,
        seconds=timeout,
        renew_locks=renew_locks,
        settlement=settlement,
        make_sender=make_sender,
    )
    _warn_of_delays(host)
    _put_on(app, host, entity, function_name, max_batch)
    _say_bound(function_name, source)
    return host


def _refuse_rebinding(app: Any, definition: HandlerDefinition, settings: Settings) -> None:
    named = _settings_of.setdefault(app, [])
    named.append((definition.name, definition.settings.get("queue"), settings))
    refuse_rebinding(named)


def _say_bound(name: str, source: Source) -> None:
    events.debug(
        source.name,
        "connect",
        "function %s is triggered by %s over the app setting %s, sessions %s",
        name,
        source.name,
        source.connection,
        source.sessions,
    )


def _put_on(
    app: Any, host: FunctionsHost, entity: Entity, name: str, max_batch: int | None
) -> None:
    source, batch = host.source, host.definition.shape is Shape.BATCH
    argument = "messages" if batch else "message"
    annotation = _message_type(source.name, batch=batch)
    put_trigger = (
        app.service_bus_queue_trigger if len(entity) == 1 else app.service_bus_topic_trigger
    )
    trigger = put_trigger(
        arg_name=argument,
        connection=source.connection,
        data_type="binary",
        cardinality="many" if batch else "one",
        is_sessions_enabled=source.sessions,
        # Said here, since host.json's word can be overridden by the trigger's default.
        auto_complete_messages=not (batch and source.sessions),
        **entity,
        **({"max_message_batch_size": max_batch} if max_batch is not None else {}),
    )
    app.function_name(name)(trigger(_entry(host, name, argument, annotation)))


def _entity(
    title: str,
    settings: Settings,
    queue: str | None,
    topic: str | None,
    subscription: str | None,
) -> tuple[Entity, bool]:
    """Give what the trigger's decorator is told of the queue, and whether its URL says sessions."""
    if topic and subscription and queue is None:
        return {"topic_name": topic, "subscription_name": subscription}, False
    if topic is not None or subscription is not None:
        raise HandlerDefinitionError(
            f"{title}: register() takes queue=, or topic= and subscription= together"
        )
    found = settings.queue if queue is None else queue
    if not found:
        raise HandlerDefinitionError(
            f"{title}: no queue is named: write register(queue=...) or @queue_handler(queue=...)"
        )
    return _of_url(title, found) if "://" in found else ({"queue_name": found}, False)


def _of_url(title: str, url: str) -> tuple[Entity, bool]:
    """Read a URL as every other host does; the namespace is that of `connection`."""
    from queue_runtime.config import redact
    from queue_runtime.transports.service_bus.address import read_address

    if not url.startswith("servicebus://"):
        raise HandlerDefinitionError(
            f"{title}: {redact(url)} is no Service Bus queue: write its name, or "
            "servicebus:///queue"
        )
    try:
        address = read_address(url)
    except QueueNotFoundError as error:
        raise HandlerDefinitionError(f"{title}: {redact(str(error))}") from None
    aside = DEAD_LETTERS if address.dead_letters else ""
    if address.subscription is None:
        return {"queue_name": address.entity + aside}, address.sessions
    names = {"topic_name": address.entity, "subscription_name": address.subscription + aside}
    return names, address.sessions


def _label(entity: Entity) -> str:
    return _resolved("/".join(entity.values()))


def _resolved(name: str) -> str:
    """Replace `%NAME%` by the app setting, as the host does with a trigger's names."""
    parts = name.split("%")
    parts[1::2] = [os.environ.get(setting, f"%{setting}%") for setting in parts[1::2]]
    return "".join(parts)


def _take_name(app: Any, name: str, title: str) -> None:
    names = _names.setdefault(app, set())
    if name.lower() in names:
        raise HandlerDefinitionError(
            f"{title}: the app has a function {name} already, and one function that cannot be "
            "indexed stops all of them: write register(name=...)"
        )
    names.add(name.lower())


def _warn_of_delays(host: FunctionsHost) -> None:
    refused = host.abilities.no_delay
    if host.settings.delayed_retries and refused:
        events.say_once(host.source.name, "delayed_retry", refused)
    if host.definition.backoff is not None and not host.settings.delayed_retries:
        events.say_once(
            host.source.name,
            "backoff",
            f"the backoff of {host.definition.name} has no effect: Service Bus gives a message "
            "back at once; write @queue_handler(delayed_retries=True) to delay it",
        )


def _message_type(label: str, *, batch: bool) -> Any:
    """Give the annotation that makes the host hand messages over whole, where it can be had."""
    functions = _functions()
    try:
        from queue_runtime.hosts.azure_functions import whole_binding
    except ImportError:
        reason = "azurefunctions-extensions-base is not installed"
    else:
        if not whole_binding.taken():
            return _listed(whole_binding.ServiceBusDelivery, batch=batch)
        reason = "another package has bound its own type to Service Bus triggers"
    lacks = (
        "batches come as arrays, where metadata can be missing"
        if batch
        else "messages whose body is an AMQP value, as JMS sends text, cannot be received"
    )
    events.say_once(label, "message_type", f"{lacks}: {reason}")
    return _listed(functions.ServiceBusMessage, batch=batch)


def _listed(one: Any, *, batch: bool) -> Any:
    # typing's own List: the worker's indexing fails on list[...], and with it the whole app.
    return typing.List[one] if batch else one  # noqa: UP006


def _functions() -> Any:
    try:
        import azure.functions as functions
    except ImportError:
        raise MissingExtraError("register()", "functions") from None
    return functions


def _entry(host: FunctionsHost, name: str, argument: str, annotation: Any) -> Callable[..., Any]:
    """Make what the worker looks at: a plain function, its parameter called like the binding.

    It is not wrapped around the handler, whose own signature the worker would follow.
    """
    entry: Callable[..., Any]
    run, run_async = host.run, host.run_async
    annotations = {argument: annotation}
    if host.settings.tracing == "otel":  # the invocation's span is found nowhere else
        entry = _entry_with_context(host, argument)
        annotations["context"] = _functions().Context
    elif argument == "message":

        def one(message: Any) -> None:
            run(message)

        async def one_async(message: Any) -> None:
            await run_async(message)

        entry = one_async if host.definition.is_async else one
    else:

        def many(messages: Any) -> None:
            run(messages)

        async def many_async(messages: Any) -> None:
            await run_async(messages)

        entry = many_async if host.definition.is_async else many
    entry.__name__ = entry.__qualname__ = name
    entry.__annotations__ = annotations
    return entry


def _entry_with_context(host: FunctionsHost, argument: str) -> Callable[..., Any]:
    run, run_async = host.run, host.run_async
    if argument == "message":

        def one(message: Any, context: Any) -> None:
            run(message, context)

        async def one_async(message: Any, context: Any) -> None:
            await run_async(message, context)

        return one_async if host.definition.is_async else one

    def many(messages: Any, context: Any) -> None:
        run(messages, context)

    async def many_async(messages: Any, context: Any) -> None:
        await run_async(messages, context)

    return many_async if host.definition.is_async else many
