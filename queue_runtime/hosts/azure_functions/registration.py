"""Puts a Service Bus trigger with everything right on an azure.functions app."""

from __future__ import annotations

import os
import typing
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from queue_runtime.config import load_settings
from queue_runtime.config.load import refuse_rebinding
from queue_runtime.definition import Shape
from queue_runtime.errors import HandlerDefinitionError, MissingExtraError
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.hosts.azure_functions.timeouts import app_folders, invocation_seconds
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.clouds.azure_settlement import Settles
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.hosts.azure_functions.settling import Sends

# What people know from the trigger's own decorator and from host.json, and why not to say it here.
_REFUSED: Final = {
    "data_type": "it is always binary: text bodies can override a message's id and lock token",
    "cardinality": "the handler's annotation decides: Batch[...] gets many, all else one",
    "auto_complete_messages": "register sets it: off for batches of sessions, on for all else",
    "is_sessions_enabled": "write sessions=True",
    "access_rights": "the host's Service Bus extension takes no notice of it",
    "max_message_batch_size": "write max_batch=",
    "retry": "the host ignores retry policies for Service Bus; write @queue_handler(backoff=...)",
    "max_concurrent_calls": "the host reads it from host.json alone: extensions.serviceBus",
    "max_concurrent_sessions": "the host reads it from host.json alone: extensions.serviceBus",
    "max_delivery_count": "it is a property of the queue; write @queue_handler(max_deliveries=...)",
    "prefetch_count": "the host reads it from host.json alone: extensions.serviceBus",
}
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
    definition = handler.definition
    title = definition.name
    _refuse(title, others)
    _refuse_value(title, connection)
    batch = definition.shape is Shape.BATCH
    if not batch:
        _refuse_for_one(title, max_batch=max_batch is not None, renew_locks=renew_locks)
    known = settings or load_settings(definition.settings)
    if queue is None and topic is None:
        named = _settings_of.setdefault(app, [])
        named.append((title, definition.settings.get("queue"), known))
        refuse_rebinding(named)
    entity = _entity(title, known, queue, topic, subscription)
    source = Source(_label(entity), connection, sessions)
    if sessions and batch:
        definition.refuse_order(source.name)
    function_name = _free_name(app, name or title.rpartition(".")[2], title)
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
    return host


def _put_on(
    app: Any, host: FunctionsHost, entity: Entity, name: str, max_batch: int | None
) -> None:
    source, batch = host.source, host.definition.shape is Shape.BATCH
    argument = "messages" if batch else "message"
    annotation = _batch_type(source.name) if batch else _functions().ServiceBusMessage
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


def _refuse(title: str, others: dict[str, object]) -> None:
    for option in others:
        reason = _REFUSED.get(option, "register has no such option")
        raise HandlerDefinitionError(f"{title}: register() does not take {option}: {reason}")


def _refuse_value(title: str, connection: str) -> None:
    """Refuse a connection string where its setting's name belongs: it would be shown as a name."""
    if any(sign in connection for sign in "=;/ "):
        raise HandlerDefinitionError(
            f"{title}: connection= takes the name of an app setting, such as SERVICEBUS, and not "
            "the connection string itself: put that into the setting"
        )


def _refuse_for_one(title: str, **options: bool) -> None:
    for option, given in options.items():
        if given:
            raise HandlerDefinitionError(
                f"{title} takes one message at a time, so {option} has no effect: the host renews "
                "single messages itself (maxAutoLockRenewalDuration in host.json)"
            )


def _entity(
    title: str,
    settings: Settings,
    queue: str | None,
    topic: str | None,
    subscription: str | None,
) -> Entity:
    """Give what the trigger's own decorator is told of a queue, or of a subscription."""
    if topic and subscription and queue is None:
        return {"topic_name": topic, "subscription_name": subscription}
    if topic or subscription:
        raise HandlerDefinitionError(
            f"{title}: register() takes queue=, or topic= and subscription= together"
        )
    found = queue or settings.queue
    if not found:
        raise HandlerDefinitionError(
            f"{title}: no queue is named: write register(queue=...) or @queue_handler(queue=...)"
        )
    scheme, separator, rest = found.partition("://")
    if not separator:
        return {"queue_name": found}
    parts = rest.strip("/").split("/")
    if scheme != "servicebus" or len(parts) not in (2, 3):
        raise HandlerDefinitionError(
            f"{title}: {found} is no Service Bus queue: write its name, or servicebus://ns/queue"
        )
    if len(parts) == 2:
        return {"queue_name": parts[1]}
    return {"topic_name": parts[1], "subscription_name": parts[2]}


def _label(entity: Entity) -> str:
    return _resolved("/".join(entity.values()))


def _resolved(name: str) -> str:
    """Replace `%NAME%` by the app setting, as the host does with a trigger's names."""
    parts = name.split("%")
    parts[1::2] = [os.environ.get(setting, f"%{setting}%") for setting in parts[1::2]]
    return "".join(parts)


def _free_name(app: Any, name: str, title: str) -> str:
    names = _names.setdefault(app, set())
    if name.lower() in names:
        raise HandlerDefinitionError(
            f"{title}: the app has a function {name} already, and one function that cannot be "
            "indexed stops all of them: write register(name=...)"
        )
    names.add(name.lower())
    return name


def _warn_of_delays(host: FunctionsHost) -> None:
    refused = host.abilities.no_delay
    if host.settings.delayed_retries and refused:
        events.say_once(host.source.name, "delayed_retry", refused)


def _batch_type(label: str) -> Any:
    functions = _functions()
    try:
        from queue_runtime.hosts.azure_functions import batch_binding
    except ImportError:
        reason = "azurefunctions-extensions-base is not installed"
    else:
        # typing's own List: the worker's indexing fails on list[...], and with it the whole app.
        if not batch_binding.taken():
            return typing.List[batch_binding.ServiceBusDelivery]  # noqa: UP006
        reason = "another package has bound its own type to Service Bus triggers"
    events.say_once(
        label, "batch_type", f"batches come as arrays, where metadata can be missing: {reason}"
    )
    one = functions.ServiceBusMessage
    return typing.List[one]  # type: ignore[valid-type]  # noqa: UP006


def _functions() -> Any:
    try:
        import azure.functions as functions
    except ImportError:
        raise MissingExtraError("register()", "functions") from None
    return functions


def _entry(host: FunctionsHost, name: str, argument: str, annotation: Any) -> Callable[..., Any]:
    """Make what the worker looks at: a plain function, its parameter called like the batch_binding.

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
