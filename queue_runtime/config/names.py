"""What queues are called: by tables of the file, by variables, and by a template of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX: Final = "QUEUE__"
_PARTS: Final = ("environment", "application", "purpose")


def table_name(queue: str) -> str:
    """Give the name by which the file's tables and the variables know a queue.

    Of a URL or an ARN it is the queue's own name: `sqs://eu/orders` is `orders`, a subscription is
    `topic/subscription`.
    """
    scheme, separator, rest = queue.partition("://")
    if queue.startswith("arn:") or (scheme == "sqs" and rest.startswith("arn:")):
        return queue.rpartition(":")[2]
    if not separator:
        return queue
    path = rest.partition("?")[0].strip("/")
    if scheme == "servicebus" and not rest.startswith("/"):
        return path.partition("/")[2] or path
    return path if scheme in ("servicebus", "local") else path.rpartition("/")[2]


def variable_part(name: str) -> str:
    """Write a queue's name as variables do: upper case, `_` for all but letters and digits."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()


def ambiguous(names: Iterable[str]) -> dict[str, list[str]]:
    """Find queues that variables cannot tell apart, by the part of a variable that names them."""
    parts: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        parts.setdefault(variable_part(name), []).append(name)
    return {part: found for part, found in parts.items() if len(found) > 1}


def split_variable(variable: str) -> tuple[str, str]:
    """Take `QUEUE__ORDERS__CONCURRENCY` apart into the queue's part and the setting's."""
    queue, _, setting = variable.removeprefix(PREFIX).rpartition("__")
    return queue, setting


def filled(template: str, purpose: str, environment: str | None, application: str | None) -> str:
    """Make a queue's name of a template.

    Raises:
        ValueError: the template has another part than these, or one that is not said; the text has
            the fix.
    """
    said = {"environment": environment, "application": application, "purpose": purpose}
    text = template
    for part in _PARTS:
        if f"{{{part}}}" in text and not said[part]:
            raise ValueError(f"{{{part}}} is in it and not said; set QUEUE_{part.upper()}")
        text = text.replace(f"{{{part}}}", said[part] or "")
    if "{" in text or "}" in text:
        raise ValueError(f"it has other parts than {', '.join(f'{{{p}}}' for p in _PARTS)}; remove")
    if "{purpose}" not in template:
        raise ValueError("all queues would have one name; write {purpose} into it")
    return text
