"""Says at a host's start what it runs by: what has no effect, and on request every value."""

from __future__ import annotations

from logging import DEBUG
from typing import TYPE_CHECKING

from queue_runtime.observability.events import events
from queue_runtime.observability.log_lines import is_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from queue_runtime.config import Settings
    from queue_runtime.config.load import Host


def begin_with(
    queue: str | None,
    settings: Settings,
    host: Host,
    transport: str = "",
    *,
    but: Collection[str] = (),
) -> None:
    """Warn of what comes to nothing, log what is in effect where asked, and keep secrets fresh.

    It is asked for at DEBUG, or with QUEUE_EXPLAIN. `but` names settings that have an effect though
    the table says none.
    """
    if settings.secrets or settings.connection_string is not None:
        from queue_runtime.observability.secret_refresh import keep_fresh  # few have any

        keep_fresh(queue, settings)
    for sentence in (*settings.warnings, *settings.unusable_on(host, transport, but=but)):
        events.warning(queue, "settings", "%s", sentence)
    if settings.explain_at_start:  # asked for, so it is seen whatever a host's own level is
        _explain(queue, settings, events.warning)
    elif is_logged(DEBUG):
        _explain(queue, settings, events.debug)


def _explain(queue: str | None, settings: Settings, write: Callable[..., None]) -> None:
    left_out = 0
    for row in settings.explain():
        if row.layer == "default":
            left_out += 1
            continue
        replaced = "".join(f", over {value} ({source})" for source, value in row.shadows)
        write(queue, "settings", "%s = %s (%s)%s", row.name, row.value, row.source, replaced)
    write(queue, "settings", "%d more settings have their defaults", left_out)
