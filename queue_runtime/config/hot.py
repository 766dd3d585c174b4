"""What a start needs of the table of settings, written by `make generate` from table.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "QUEUE_RUNTIME_CONFIG"
SEARCHED: Final = (
    "queue-runtime.toml",
    "queue-runtime.yaml",
    "queue-runtime.yml",
    "config.toml",
    "config.yaml",
    "config.yml",
)
DEFAULTS: Final[Mapping[str, object]] = {
    "provider": None,
    "queue": None,
    "dead_letter": None,
    "receive_seconds": 30.0,
    "visibility_seconds": 300.0,
    "max_deliveries": 4,
    "backoff_seconds": 1.0,
    "max_backoff_seconds": 900.0,
    "concurrency": 10,
    "in_flight": 200,
    "reserve_seconds": 0.5,
    "drain_seconds": 25.0,
    "processes": 1,
    "handler_seconds": 0.0,
    "stuck_seconds": 0.0,
    "max_messages": 0,
    "max_memory_mb": 0,
    "delayed_retries": False,
    "error_text": True,
    "preload": None,
    "breaker_failures": 0,
    "breaker_seconds": 30.0,
    "breaker_successes": 3,
    "idempotency_store": None,
    "idempotency_retention_seconds": 1209600.0,
    "local_directory": ".queue-runtime",
    "health_port": 0,
    "health_address": None,
    "logs": None,
    "info_lines": 0,
    "metrics": None,
    "tracing": None,
    "semconv": "current",
    "trace_parent": False,
    "flush_seconds": 0.2,
    "connection_string": None,
    "azure_client_id": None,
    "azure_tenant_id": None,
    "azure_client_secret": None,
    "aws_region": None,
    "idempotency_password": None,
    "environment": None,
    "application": None,
    "name_template": None,
    "secret_seconds": 300.0,
    "explain_at_start": False,
}
# Settings whose text is taken as it is, where it is no URL.
PLAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "queue": ("QUEUE_NAME",),
    "aws_region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
# What may have no effect, by host.
UNUSABLE: Final[Mapping[str, frozenset[str]]] = {
    "lambda": frozenset(
        (
            "provider",
            "receive_seconds",
            "visibility_seconds",
            "in_flight",
            "drain_seconds",
            "processes",
            "handler_seconds",
            "stuck_seconds",
            "max_messages",
            "max_memory_mb",
            "delayed_retries",
            "local_directory",
            "health_port",
            "health_address",
            "metrics",
            "connection_string",
        )
    ),
    "functions": frozenset(
        (
            "provider",
            "dead_letter",
            "receive_seconds",
            "visibility_seconds",
            "backoff_seconds",
            "max_backoff_seconds",
            "concurrency",
            "in_flight",
            "drain_seconds",
            "processes",
            "handler_seconds",
            "stuck_seconds",
            "max_messages",
            "max_memory_mb",
            "preload",
            "breaker_failures",
            "breaker_seconds",
            "breaker_successes",
            "local_directory",
            "health_port",
            "health_address",
            "metrics",
            "tracing",
            "flush_seconds",
            "connection_string",
            "azure_client_id",
            "azure_tenant_id",
            "azure_client_secret",
            "aws_region",
        )
    ),
    "poll": frozenset(
        (
            "dead_letter",
            "visibility_seconds",
            "backoff_seconds",
            "max_backoff_seconds",
            "reserve_seconds",
            "delayed_retries",
            "preload",
            "local_directory",
            "metrics",
            "tracing",
            "flush_seconds",
            "connection_string",
            "azure_client_id",
            "azure_tenant_id",
            "azure_client_secret",
            "aws_region",
        )
    ),
}
