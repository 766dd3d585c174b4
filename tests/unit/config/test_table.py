from __future__ import annotations

import pytest

from queue_runtime.config import Secret, Settings, load_settings, references
from queue_runtime.config.table import SETTINGS, Setting, settings_reference
from scripts import settings_hot, settings_page

# name, variable, what the variable says, what the attribute then is, and the default
SAID = [
    ("provider", "QUEUE_PROVIDER", "aws", "aws", None),
    ("queue", "QUEUE_NAME", "orders", "orders", None),
    ("dead_letter", "QUEUE_DLQ_NAME", "orders-dlq", "orders-dlq", None),
    ("receive_seconds", "QUEUE_RECEIVE_TIMEOUT_SECONDS", "5", 5.0, 30.0),
    ("visibility_seconds", "QUEUE_VISIBILITY_TIMEOUT_SECONDS", "43200", 43200.0, 300.0),
    ("max_deliveries", "QUEUE_MAX_RETRY_ATTEMPTS", "3", 4, 4),
    ("backoff_seconds", "QUEUE_RETRY_BACKOFF_MS", "1500", 1.5, 1.0),
    ("max_backoff_seconds", "QUEUE_MAX_BACKOFF_SECONDS", "60", 60.0, 900.0),
    ("concurrency", "QUEUE_CONCURRENCY", "4", 4, 10),
    ("in_flight", "QUEUE_IN_FLIGHT", "50", 50, 200),
    ("reserve_seconds", "QUEUE_RESERVE_SECONDS", "0.25", 0.25, 0.5),
    ("drain_seconds", "QUEUE_DRAIN_SECONDS", "0", 0.0, 25.0),
    ("processes", "QUEUE_PROCESSES", "2", 2, 1),
    ("handler_seconds", "QUEUE_HANDLER_SECONDS", "60", 60.0, 0.0),
    ("stuck_seconds", "QUEUE_STUCK_SECONDS", "300", 300.0, 0.0),
    ("max_messages", "QUEUE_MAX_MESSAGES", "1000", 1000, 0),
    ("max_memory_mb", "QUEUE_MAX_MEMORY_MB", "512", 512, 0),
    ("delayed_retries", "QUEUE_DELAYED_RETRIES", "Yes", True, False),
    ("error_text", "QUEUE_DEAD_LETTER_ERROR_TEXT", "off", False, True),
    ("preload", "QUEUE_PRELOAD", "init", "init", None),
    ("breaker_failures", "QUEUE_BREAKER_FAILURES", "5", 5, 0),
    ("breaker_seconds", "QUEUE_BREAKER_SECONDS", "1.5", 1.5, 30.0),
    ("breaker_successes", "QUEUE_BREAKER_SUCCESSES", "1", 1, 3),
    ("idempotency", "QUEUE_IDEMPOTENCY", "off", False, True),
    ("idempotency_store", "QUEUE_IDEMPOTENCY_STORE", "memory://", "memory://", None),
    (
        "idempotency_retention_seconds",
        "QUEUE_IDEMPOTENCY_RETENTION_SECONDS",
        "86400",
        86400.0,
        1209600.0,
    ),
    ("local_directory", "QUEUE_LOCAL_DIRECTORY", "queues", "queues", ".queue-runtime"),
    ("health_port", "QUEUE_HEALTH_PORT", "65535", 65535, 0),
    ("health_address", "QUEUE_HEALTH_ADDRESS", "::1", "::1", None),
    ("tracebacks", "QUEUE_TRACEBACKS", "1", True, False),
    ("logs", "QUEUE_LOGS", "json", "json", None),
    ("info_lines", "QUEUE_INFO_LINES", "100", 100, 0),
    ("metrics", "QUEUE_METRICS", "emf", "emf", None),
    ("tracing", "QUEUE_TRACING", "otel", "otel", None),
    ("semconv", "QUEUE_SEMCONV", "both", "both", "current"),
    ("trace_parent", "QUEUE_TRACE_PARENT", "true", True, False),
    ("flush_seconds", "QUEUE_FLUSH_SECONDS", "0.5", 0.5, 0.2),
    (
        "connection_string",
        "AZURE_SERVICE_BUS_CONNECTION_STRING",
        "Endpoint=sb://ns/;SharedAccessKey=a",
        Secret("Endpoint=sb://ns/;SharedAccessKey=a"),
        None,
    ),
    ("azure_client_id", "AZURE_CLIENT_ID", "id", "id", None),
    ("azure_tenant_id", "AZURE_TENANT_ID", "tenant", "tenant", None),
    ("azure_client_secret", "AZURE_CLIENT_SECRET", "s", Secret("s"), None),
    ("aws_region", "AWS_REGION", "eu-west-1", "eu-west-1", None),
    ("idempotency_password", "QUEUE_IDEMPOTENCY_PASSWORD", "p", Secret("p"), None),
    ("environment", "QUEUE_ENVIRONMENT", "prod", "prod", None),
    ("application", "QUEUE_APPLICATION", "shop", "shop", None),
    ("name_template", "QUEUE_NAME_TEMPLATE", "{purpose}", "{purpose}", None),
    ("secret_seconds", "QUEUE_SECRET_SECONDS", "60", 60.0, 300.0),
    ("explain_at_start", "QUEUE_EXPLAIN", "1", True, False),
]


@pytest.mark.parametrize(("name", "variable", "text", "value", "default"), SAID)
def test_each_setting_has_its_default_and_its_variable(
    name: str, variable: str, text: str, value: object, default: object
) -> None:
    unsaid = getattr(load_settings(environ={}), name)
    assert (unsaid, type(unsaid)) == (default, type(default))
    settings = load_settings(environ={variable: text})
    assert (getattr(settings, name), type(getattr(settings, name))) == (value, type(value))
    assert settings.origin(name).layer == "environment"
    assert settings.origin(name).key == variable


def test_the_test_above_covers_the_whole_table() -> None:
    assert [row[0] for row in SAID] == list(SETTINGS)


def test_each_attribute_is_declared_with_the_type_that_the_table_gives() -> None:
    declared = dict(Settings.__annotations__)
    for name, setting in SETTINGS.items():
        kind = "Secret" if setting.secret else setting.kind.__name__
        if setting.choices:
            kind = "Literal[" + ", ".join(repr(choice) for choice in setting.choices) + "]"
        assert declared.pop(name) == (f"{kind} | None" if setting.default is None else kind)
    assert set(declared) == {"_origins", "_secrets", "_shadowed", "warnings"}


def test_the_reference_has_a_row_for_each_setting() -> None:
    rows = {name: rest for name, *rest in settings_reference()}
    assert list(rows) == list(SETTINGS)
    assert rows["max_deliveries"] == [
        "QUEUE_MAX_RETRY_ATTEMPTS (value + 1)",
        "4",
        "a whole number of 1 or more, at most 2000",
        SETTINGS["max_deliveries"].meaning,
    ]
    assert rows["backoff_seconds"][0] == "QUEUE_RETRY_BACKOFF_MS (value / 1000)"
    assert rows["visibility_seconds"][1:3] == ["300", "a number above 0, at most 43200"]
    assert rows["aws_region"][0] == "AWS_REGION, then AWS_DEFAULT_REGION"
    assert rows["provider"][1:3] == ["none", "azure, aws or local"]
    assert rows["preload"][2] == "init"
    assert rows["error_text"][1:3] == ["true", "true or false"]
    assert all(cell for row in rows.values() for cell in row)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("visibility_seconds", [0.001, 43_200, 300], [0, -1, 43_200.5, "300", True, None]),
        ("receive_seconds", [0.5, 604_800], [0, float("nan"), float("inf"), 10**400]),
        ("max_deliveries", [1, 1000, 2000], [0, 2001, 10**30, 1.0, "1", True]),
        ("health_port", [0, 65_535], [-1, 65_536]),
        ("processes", [1, 256], [0, 257, 100_000]),
        ("error_text", [True, False], [1, 0, "true", None]),
        ("queue", ["orders"], ["", 5, b"orders", ["orders"]]),
        ("provider", ["azure"], ["Azure", ""]),
    ],
)
def test_a_value_is_taken_in_range_and_of_its_own_type(
    name: str, good: list[object], bad: list[object]
) -> None:
    setting = SETTINGS[name]
    for value in good:
        accepted = setting.accept(value)
        assert accepted == value
        assert type(accepted) is setting.kind
    for value in bad:
        with pytest.raises((ValueError, OverflowError)):
            setting.accept(value)


def test_bounds_are_told_in_the_unit_of_the_layer() -> None:
    whole = SETTINGS["max_deliveries"].takes(environment=True)
    assert whole == "a whole number of 0 or more, at most 1999"
    most = SETTINGS["backoff_seconds"].takes(environment=True)
    assert most == "a number of 0 or more, at most 604800000"
    assert Setting("n", "N", 1, "", kind=int, low=1, high=9).takes() == (
        "a whole number of 1 or more, at most 9"
    )


def test_every_whole_number_has_an_upper_bound() -> None:
    assert [s.name for s in SETTINGS.values() if s.kind is int and s.high is None] == []


def test_the_part_that_every_start_loads_is_generated_from_the_table() -> None:
    assert settings_hot.page("") == settings_hot.PAGE.read_text()


def test_the_example_of_the_page_is_a_file_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_found", lambda _: references.Found("redis://cache/0"))
    environ = {"QUEUE_ENVIRONMENT": "prod"}
    settings = load_settings({"queue": "main"}, file=settings_page.EXAMPLE, environ=environ)
    assert settings.queue == "prod-task-tactician-main"
    assert settings.dead_letter == "prod-task-tactician-dlq"
    assert (settings.concurrency, settings.in_flight, settings.max_deliveries) == (20, 400, 6)
    assert settings.idempotency_store == "redis://cache/0"


def test_each_setting_is_once_on_the_page() -> None:
    page = settings_page.PAGE.read_text()
    assert page == settings_page.page(page)
    assert [page.count(f"| `{name}`<br>") for name in SETTINGS] == [1] * len(SETTINGS)
