"""Writes the tables of docs/configuration.md from that of settings:  settings_page [--check]."""

from __future__ import annotations

import re
import sys
from typing import Final

from queue_runtime.config.table import settings_reference
from scripts import generated

PAGE = generated.DOCS / "configuration.md"
EXAMPLE = generated.DOCS / "examples" / "queue-runtime.toml"

# A setting that is in none of them comes under the last heading.
GROUPS: Final = (
    (
        "Queues",
        "provider queue dead_letter environment application name_template local_directory",
    ),
    (
        "Retries and dead letters",
        "max_deliveries backoff_seconds max_backoff_seconds delayed_retries error_text",
    ),
    (
        "Running handlers",
        "concurrency in_flight receive_seconds visibility_seconds reserve_seconds drain_seconds "
        "handler_seconds preload processes stuck_seconds max_messages max_memory_mb health_port "
        "health_address",
    ),
    ("Circuit breaker", "breaker_failures breaker_seconds breaker_successes"),
    (
        "Idempotency",
        "idempotency idempotency_store idempotency_password idempotency_retention_seconds",
    ),
    (
        "Logs, metrics, traces",
        "logs info_lines metrics tracing semconv trace_parent flush_seconds tracebacks "
        "explain_at_start",
    ),
    (
        "Clouds and secrets",
        "connection_string azure_client_id azure_tenant_id azure_client_secret aws_region "
        "secret_seconds",
    ),
    ("More", ""),
)


def page(current: str) -> str:
    """Give the page with its example and its tables as they are now."""
    example = generated.between_markers(current, "example", f"```toml\n{EXAMPLE.read_text()}```")
    tables = "\n\n".join(
        f"### {title}\n\n{generated.table(('setting', 'default', 'takes', 'meaning'), *rows)}"
        for title, rows in _grouped()
        if rows
    )
    return generated.between_markers(example, "settings", tables)


def _grouped() -> list[tuple[str, list[tuple[str, ...]]]]:
    rows = {name: _row(name, *rest) for name, *rest in settings_reference()}
    groups = [(title, [rows.pop(name) for name in names.split()]) for title, names in GROUPS[:-1]]
    return [*groups, (GROUPS[-1][0], list(rows.values()))]


def _row(name: str, environment: str, default: str, takes: str, meaning: str) -> tuple[str, ...]:
    variables = re.sub(r"[A-Z_]{2,}", lambda found: f"`{found[0]}`", environment)
    return f"`{name}`<br>{variables}", default, takes, meaning.replace("{", "\\{")


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
