"""Checks what `register` is told, where it is told: one wrong trigger stops the whole app."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.definition import Shape, definition_of
from queue_runtime.errors import HandlerDefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from queue_runtime.definition import HandlerDefinition

# What people know from the trigger's own decorator and from host.json, and why not to say it here.
_REFUSED: Final = {
    "arg_name": "the function that the app gets is register's own",
    "queue_name": "write queue=",
    "topic_name": "write topic=",
    "subscription_name": "write subscription=",
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
# The host's own rule for a function's name (its FunctionNameValidationRegex).
_FUNCTION: Final = re.compile(r"(?!host\Z)[a-z][a-z0-9_-]{0,127}", re.IGNORECASE)
# On Linux, where Python runs, an app setting is an environment variable; `:` is for sections.
_SETTING: Final = re.compile(r"[a-z_][a-z0-9_.:-]*", re.IGNORECASE)
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules; `%NAME%`
# is an app setting, and `$` begins the name of a sub-queue.
_ENTITY: Final = re.compile(r"[a-z0-9%]([a-z0-9._/$%-]*[a-z0-9_%])?", re.IGNORECASE)
_LONGEST_ENTITY: Final = 260
_TRIGGERS: Final = ("service_bus_queue_trigger", "service_bus_topic_trigger", "function_name")


def checked_definition(app: Any, handler: Any) -> HandlerDefinition:
    """Give the handler's definition.

    Raises:
        HandlerDefinitionError: the app is none, the handler is none, or they are the wrong way
            round.
    """
    if not all(hasattr(app, trigger) for trigger in _TRIGGERS):
        fix = "the app comes first" if hasattr(app, "definition") else "make one"
        raise HandlerDefinitionError(
            f"register() got a {type(app).__name__} as its app: {fix}, as in "
            'register(func.FunctionApp(), handler, connection="SERVICEBUS")'
        )
    return definition_of(handler)


def refuse_unknown(title: str, others: Mapping[str, object]) -> None:
    """Refuse options that are not register's own, with the reason.

    Raises:
        HandlerDefinitionError: there is any.
    """
    for option in others:
        reason = _REFUSED.get(option, "register has no such option")
        raise HandlerDefinitionError(f"{title}: register() does not take {option}: {reason}")


def check_values(
    definition: HandlerDefinition,
    *,
    connection: Any,
    name: Any,
    max_batch: Any,
    timeout: Any,
    **flags: Any,
) -> None:
    """Refuse values that the host would not take, or by which no message would ever run.

    No value of `connection` is ever shown: a whole connection string is the commonest mistake.

    Raises:
        HandlerDefinitionError: says what to write.
    """
    title = definition.name
    for flag, value in flags.items():
        _demand(type(value) is bool, title, f"{flag}= is True or False")
    _check_connection(title, connection)
    _demand(
        isinstance(name, str) and _FUNCTION.fullmatch(name) is not None,
        title,
        f"{name!r} cannot be a function's name: write register(name=...) with a letter first, then "
        "letters, digits, - or _",
    )
    whole = max_batch is None or (type(max_batch) is int and max_batch >= 1)
    _demand(whole, title, f"max_batch= is a whole number of 1 or more, not {max_batch!r}")
    number = type(timeout) in (int, float) and timeout > 0
    _demand(
        timeout is None or number,
        title,
        f"timeout= is a number of seconds above 0, not {timeout!r}; leave it out to have "
        "functionTimeout of host.json",
    )
    if definition.shape is not Shape.BATCH:
        _refuse_for_one(title, max_batch=max_batch is not None, renew_locks=flags["renew_locks"])


def check_entity(title: str, names: Mapping[str, str]) -> None:
    """Refuse names that no queue, topic or subscription can have.

    Raises:
        HandlerDefinitionError: says which.
    """
    for kind, name in names.items():
        _demand(
            _ENTITY.fullmatch(name) is not None and len(name) <= _LONGEST_ENTITY,
            title,
            f"{name[:100]!r} cannot be a {kind.replace('_', ' ')}: those are letters, digits, "
            "., -, _ and /, and begin and end with a letter or a digit",
        )


def _check_connection(title: str, connection: Any) -> None:
    asked = "connection= is the name of an app setting, such as SERVICEBUS"
    text = connection if isinstance(connection, str) else ""
    _demand(bool(text.strip()), title, f"{asked}; it is empty or no text")
    if ";" in text or "=" in text:
        fix = "put it into an app setting, and write that setting's name"
        raise HandlerDefinitionError(f"{title}: {asked}, not the connection string itself: {fix}")
    if ".servicebus." in text.lower():
        fix = "put it into the app setting SERVICEBUS__fullyQualifiedNamespace"
        raise HandlerDefinitionError(f"{title}: {asked}, not a namespace: {fix}")
    _demand(
        _SETTING.fullmatch(text) is not None,
        title,
        f"{asked}: letters, digits and _, without % or blanks",
    )


def _refuse_for_one(title: str, **options: bool) -> None:
    for option, given in options.items():
        if given:
            raise HandlerDefinitionError(
                f"{title} takes one message at a time, so {option} has no effect: the host renews "
                "single messages itself (maxAutoLockRenewalDuration in host.json)"
            )


def _demand(right: bool, title: str, sentence: str) -> None:
    if not right:
        raise HandlerDefinitionError(f"{title}: {sentence}")
