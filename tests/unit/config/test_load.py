from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import config
from queue_runtime.config import Origin, Secret, SecretResolver, Settings, load_settings
from queue_runtime.config.table import SETTINGS
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

CONNECTION = "Endpoint=sb://prod.servicebus.windows.net/;SharedAccessKeyName=app;SharedAccessKey="
LAYERS = ["default", "author", "file", "environment", "argument"]


def _lines(*args: Any, **kwargs: Any) -> list[str]:
    kwargs.setdefault("environ", {})
    with pytest.raises(SettingsError) as caught:
        load_settings(*args, **kwargs)
    return [line.strip() for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("top", range(len(LAYERS)))
def test_each_layer_goes_over_those_before_it(folder: Path, top: int) -> None:
    (folder / "f.toml").write_text("concurrency = 3\n")
    said: dict[str, Any] = {
        "author": {"concurrency": 2},
        "file": "f.toml",
        "environ": {"QUEUE_CONCURRENCY": "4"},
        "arguments": {"concurrency": 5},
    }
    used = dict(list(said.items())[:top])
    settings = load_settings(**{"environ": {}, **used})
    assert settings.concurrency == [10, 2, 3, 4, 5][top]
    origin = settings.origin("concurrency")
    assert origin.layer == LAYERS[top]
    assert (
        str(origin)
        == [
            "default",
            "decorator argument concurrency",
            "file f.toml:1, key concurrency",
            "environment variable QUEUE_CONCURRENCY",
            "argument concurrency",
        ][top]
    )
    assert repr(origin) == f"<Origin {origin}>"


def test_the_process_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUEUE_NAME", "from-the-process")
    assert load_settings().queue == "from-the-process"


def test_none_and_an_empty_variable_are_not_said() -> None:
    settings = load_settings(
        {"queue": "orders", "dead_letter": None},
        environ={"QUEUE_NAME": "", "QUEUE_CONCURRENCY": "  "},
        arguments={"queue": None},
    )
    assert settings.queue == "orders"
    assert settings.dead_letter is None
    assert settings.origin("concurrency").layer == "default"


def test_an_option_is_parsed_from_what_was_typed_in_our_unit() -> None:
    settings = load_settings(
        environ={},
        arguments={"--max-deliveries": "3", "--error-text": " false ", "--backoff-seconds": 2},
    )
    assert (settings.max_deliveries, settings.error_text) == (3, False)
    assert settings.backoff_seconds == 2.0
    assert str(settings.origin("max_deliveries")) == "option --max-deliveries"


def test_a_call_gives_values_of_the_right_type_instead_of_text() -> None:
    assert _lines(arguments={"max_deliveries": "3"})[1:] == [
        "argument max_deliveries: '3' cannot be max_deliveries; write a whole number of 1 or "
        "more, at most 2000"
    ]


def test_the_second_region_variable_counts_where_the_first_is_empty() -> None:
    both = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}
    assert load_settings(environ=both).aws_region == "eu-west-1"
    settings = load_settings(environ={**both, "AWS_REGION": ""})
    assert settings.aws_region == "us-east-1"
    assert settings.origin("aws_region").key == "AWS_DEFAULT_REGION"


def test_everything_wrong_is_told_at_once_a_line_each() -> None:
    lines = _lines(
        {"max_deliverys": 3, "queue": "orders", "in_flight": 0},
        environ={
            "QUEUE_MAX_RETRY_ATTEMPTS": "-1",
            "QUEUE_RETRY_BACKOFF_MS": "1s",
            "QUEUE_DLQ_NAME": "orders",
            "QUEUE_DELAYED_RETRIES": "maybe",
        },
        arguments={"--health-prt": "1", "what\never": 1},
    )
    assert lines == [
        "settings: 8 are wrong",
        "decorator argument max_deliverys: is no setting; did you mean max_deliveries?",
        "decorator argument in_flight: 0 cannot be in_flight; write a whole number of 1 or more, "
        "at most 120000",
        "environment variable QUEUE_MAX_RETRY_ATTEMPTS: '-1' cannot be max_deliveries; "
        "write a whole number of 0 or more, at most 1999",
        "environment variable QUEUE_RETRY_BACKOFF_MS: '1s' cannot be backoff_seconds; "
        "write a number of 0 or more, at most 604800000",
        "environment variable QUEUE_DELAYED_RETRIES: 'maybe' cannot be delayed_retries; "
        "write true or false",
        "option --health-prt: is no setting; did you mean --health-port?",
        "argument what ever: is no setting; remove it",
        "queue (decorator argument queue) and dead_letter (environment variable QUEUE_DLQ_NAME): "
        "a dead-lettered message would come straight back; name another queue",
    ]


def test_a_wrong_value_is_told_even_where_a_later_layer_replaces_it() -> None:
    lines = _lines({"concurrency": 0}, arguments={"concurrency": 5})
    assert lines[0] == "settings: 1 setting is wrong"
    assert lines[1].startswith("decorator argument concurrency: 0 cannot be")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("max-deliveries", "max_deliveries"),
        ("QUEUE_MAX_RETRY_ATTEMPTS", "max_deliveries"),
        ("max_retry_attempts", "max_deliveries"),
        ("aws_default_region", "aws_region"),
        ("visibility_timeout_seconds", "visibility_seconds"),
    ],
)
def test_a_key_in_another_spelling_is_recognised_and_refused(key: str, meant: str) -> None:
    assert _lines({key: 1})[1].endswith(f"is no setting; did you mean {meant}?")


def test_unknown_variables_with_our_prefix_are_warnings_without_their_values() -> None:
    environ = {"QUEUE_URL": "theirs", "QUEUE_MAX_RETRYS": "9", "OTHER": "x", "QUEUE": "y"}
    assert load_settings(environ=environ).warnings == [
        "environment variable QUEUE_MAX_RETRYS: is no setting; "
        "did you mean QUEUE_MAX_RETRY_ATTEMPTS?",
        "environment variable QUEUE_URL: is no setting; nothing to do if other software reads it",
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"backoff_seconds": 1000.0},
            "backoff_seconds (argument backoff_seconds) and max_backoff_seconds (default): "
            "1000 is more than the most, 900; lower the first or raise the second",
        ),
        (
            {"provider": "aws", "queue": "servicebus://prod/orders"},
            "servicebus:// is a queue of azure, not of aws; correct either",
        ),
        (
            {"provider": "local", "queue": "https://sqs.eu-west-1.amazonaws.com/1/orders"},
            "https:// is a queue of aws, not of local; correct either",
        ),
        (
            {
                "connection_string": CONNECTION + "a",
                "queue": "servicebus://prod.servicebus.windows.net/orders",
            },
            "a key and the namespace prod.servicebus.windows.net in full; leave out one",
        ),
        (
            {"connection_string": CONNECTION + "a", "queue": "servicebus://staging/orders"},
            "one is for prod.servicebus.windows.net, the other for staging; correct either",
        ),
        (
            {"connection_string": "hunter2"},
            "connection_string (argument connection_string): has no Endpoint=sb://...; "
            "copy the whole connection string",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(said: dict[str, object], why: str) -> None:
    (_, line) = _lines(arguments=said)
    assert why in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "said",
    [
        {"backoff_seconds": 900.0},
        {"provider": "aws", "queue": "sqs://orders"},
        {"provider": "aws", "queue": "orders", "dead_letter": "orders-dlq"},
        {"provider": "azure", "queue": "odd://orders"},
        {"connection_string": CONNECTION + "a", "queue": "orders"},
        {"connection_string": CONNECTION + "a", "queue": "servicebus://PROD/orders"},
        {
            "connection_string": "Endpoint=sb://127.0.0.1:5672;UseDevelopmentEmulator=true",
            "queue": "servicebus://127.0.0.1:5672/orders",
        },
        {"azure_client_id": "managed-identity"},
        {"azure_client_id": "app", "connection_string": CONNECTION + "a"},
    ],
)
def test_values_that_agree_are_taken(said: dict[str, object]) -> None:
    settings = load_settings(environ={}, arguments=said)
    assert settings.origin(next(iter(said))).layer == "argument"


def test_a_combination_with_a_value_that_is_wrong_alone_is_not_told_twice() -> None:
    lines = _lines({"backoff_seconds": 1000.0}, environ={"QUEUE_MAX_BACKOFF_SECONDS": "x"})
    assert len(lines) == 2
    assert "QUEUE_MAX_BACKOFF_SECONDS" in lines[1]


class Vault:
    """A resolver over a dict, which records what it was asked."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.asked: list[str] = []

    def resolve(self, reference: str, /) -> str:
        self.asked.append(reference)
        return self.secrets[reference.rpartition("/")[2]]


def test_a_reference_is_resolved_and_what_it_stands_for_stays_hidden() -> None:
    vault: SecretResolver = Vault(bus=CONNECTION + "hunter2\n", name="hidden-name")
    settings = load_settings(
        {"queue": "secret://v/name"},
        environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": "secret://v/bus"},
        resolver=vault,
    )
    assert settings.connection_string == Secret(CONNECTION + "hunter2")
    assert settings.queue == "hidden-name"
    assert settings.origin("queue").reference == "secret://v/name"
    shown = f"{settings!r} {[row.as_dict() for row in settings.explain()]}"
    assert "hunter2" not in shown
    assert "hidden-name" not in shown
    assert "decorator argument queue by secret://v/name" in shown


def test_only_the_reference_in_effect_is_asked_for() -> None:
    vault = Vault(new="orders")
    settings = load_settings(
        {"queue": "secret://v/old"}, environ={"QUEUE_NAME": "secret://v/new"}, resolver=vault
    )
    assert settings.queue == "orders"
    assert vault.asked == ["secret://v/new"]


@pytest.mark.parametrize(
    ("resolver", "why"),
    [
        (
            None,
            "no secret resolver was given: pass load_settings(resolver=...), or install a package "
            "with an entry point in the group queue_runtime.secret_stores",
        ),
        (Vault(), "KeyError: 'bus'; correct the reference, or allow it to be read"),
        (Vault(bus=" \n"), "it resolves to nothing: put a value there"),
    ],
)
def test_a_reference_that_cannot_be_resolved_names_its_key(
    resolver: Vault | None, why: str
) -> None:
    environ = {"AZURE_SERVICE_BUS_CONNECTION_STRING": "secret://v/bus", "QUEUE_CONCURRENCY": "x"}
    lines = _lines(environ=environ, resolver=resolver)
    assert lines[0] == "settings: 2 are wrong"
    assert lines[2] == (
        "environment variable AZURE_SERVICE_BUS_CONNECTION_STRING by secret://v/bus: "
        f"cannot be resolved: {why}"
    )


def test_a_resolver_s_own_error_is_redacted() -> None:
    class Leaky:
        def resolve(self, reference: str, /) -> str:
            raise OSError(f"GET https://app:hunter2@vault/{reference} failed")

    lines = _lines({"connection_string": "secret://v/bus"}, resolver=Leaky())
    assert "OSError: GET https://app:***@vault/" in lines[1]


SHOWN = [
    {"connection_string": CONNECTION + "hunter2"},
    {"connection_string": Secret(CONNECTION + "hunter2")},
    {"queue": "amqp://user:hunter2@host/orders"},
    {"dead_letter": "https://h/?X-Amz-Security-Token=hunter2"},
]


@pytest.mark.parametrize("said", SHOWN)
def test_settings_never_show_a_secret(said: dict[str, object]) -> None:
    settings = load_settings(said, environ={})
    name = next(iter(said))
    assert settings.origin(name).layer == "author"
    for shown in (
        repr(settings),
        str(settings),
        f"{[row.as_dict() for row in settings.explain()]}",
    ):
        assert "hunter2" not in shown
        assert "***" in shown


def test_a_secret_in_the_place_of_a_plain_setting_is_refused_unseen() -> None:
    lines = _lines({"queue": Secret("hunter2"), "connection_string": 5})
    assert lines[1:] == [
        "decorator argument queue: a Secret cannot be queue; write a text that is not empty",
        "decorator argument connection_string: its value cannot be connection_string; "
        "write a text that is not empty",
    ]


def test_repr_has_what_was_said_and_explain_has_everything() -> None:
    assert repr(load_settings(environ={})) == "<Settings all default>"
    settings = load_settings({"queue": "orders"}, environ={"QUEUE_RETRY_BACKOFF_MS": "250"})
    assert repr(settings) == "<Settings queue=orders backoff_seconds=0.25>"
    rows = {row.name: (row.value, row.source) for row in settings.explain()}
    assert list(rows) == list(SETTINGS)
    assert rows["queue"] == ("orders", "decorator argument queue")
    assert rows["backoff_seconds"] == ("0.25", "environment variable QUEUE_RETRY_BACKOFF_MS")
    assert rows["connection_string"] == ("none", "default")
    assert rows["error_text"] == ("true", "default")


def test_settings_are_read_only() -> None:
    settings = load_settings(environ={})
    with pytest.raises(AttributeError, match=r"read-only: use replace\(queue="):
        settings.queue = "other"
    with pytest.raises(AttributeError, match="read-only: queue cannot be deleted"):
        del settings.queue
    with pytest.raises(KeyError):
        settings.origin("colour")


def test_replace_puts_arguments_over_and_keeps_the_rest() -> None:
    first = load_settings(
        {"queue": "orders", "connection_string": CONNECTION + "a"},
        environ={"QUEUE_ODD_ONE": "x", "QUEUE_CONCURRENCY": "4"},
    )
    second = first.replace(queue="other", concurrency=None)
    assert (first.queue, second.queue) == ("orders", "other")
    assert second.origin("queue").layer == "argument"
    assert second.origin("concurrency").key == "QUEUE_CONCURRENCY"
    assert second.connection_string == first.connection_string
    assert second.warnings == first.warnings != []
    with pytest.raises(SettingsError, match="argument colour: is no setting"):
        first.replace(colour="red")
    with pytest.raises(SettingsError, match="would come straight back"):
        first.replace(dead_letter="orders")


_OF_POLLERS = {
    "processes",
    "drain_seconds",
    "in_flight",
    "handler_seconds",
    "health_port",
    "max_memory_mb",
    "max_messages",
    "stuck_seconds",
}
_OF_LOCAL = {"local_directory"}
_OF_RECEIVES = {"visibility_seconds", "receive_seconds"}
_DELAYS = {"backoff_seconds", "max_backoff_seconds"}
UNUSABLE: dict[tuple[str, str], set[str]] = {
    ("lambda", ""): _OF_POLLERS | _OF_RECEIVES | _OF_LOCAL | {"delayed_retries"},
    ("functions", ""): _OF_POLLERS
    | _OF_RECEIVES
    | _OF_LOCAL
    | _DELAYS
    | {
        "concurrency",
        "breaker_failures",
        "breaker_seconds",
        "breaker_successes",
        "flush_seconds",
    },
    ("poll", "sqs"): {"reserve_seconds", "flush_seconds", "delayed_retries"} | _OF_LOCAL,
    ("poll", "servicebus"): {"reserve_seconds", "flush_seconds", "visibility_seconds"}
    | _OF_LOCAL
    | _DELAYS,
    ("poll", "local"): {"reserve_seconds", "flush_seconds", "delayed_retries"},
}


def _everything_said() -> Settings:
    values = {name: row.default for name, row in SETTINGS.items() if row.default is not None}
    return load_settings(values, environ={})


@pytest.mark.parametrize(("host", "transport"), UNUSABLE)
def test_what_was_said_and_has_no_effect_there_is_told(host: Any, transport: str) -> None:
    sentences = _everything_said().unusable_on(host, transport)
    assert {sentence.partition(" ")[0] for sentence in sentences} == UNUSABLE[host, transport]
    assert load_settings(environ={}).unusable_on(host, transport) == []


@pytest.mark.parametrize(
    ("host", "transport", "variable", "text", "why"),
    [
        ("poll", "servicebus", "QUEUE_DLQ_NAME", "q", "into a sub-queue of its own"),
        ("poll", "local", "QUEUE_DLQ_NAME", "q", "keeps its dead letters itself"),
        ("functions", "", "QUEUE_DLQ_NAME", "q", "into a sub-queue of its own"),
        ("poll", "sqs", "QUEUE_METRICS", "emf", "written at the end only; choose prometheus"),
        ("poll", "sqs", "QUEUE_TRACING", "xray", "choose otel"),
        ("functions", "", "QUEUE_METRICS", "emf", "CloudWatch does not read"),
        ("poll", "servicebus", "QUEUE_RETRY_BACKOFF_MS", "9", "set QUEUE_DELAYED_RETRIES"),
        ("poll", "servicebus", "QUEUE_VISIBILITY_TIMEOUT_SECONDS", "9", "the lock duration of"),
    ],
)
def test_a_value_in_vain_is_told_by_host_and_by_transport(
    host: Any, transport: str, variable: str, text: str, why: str
) -> None:
    (sentence,) = load_settings(environ={variable: text}).unusable_on(host, transport)
    assert variable in sentence
    assert why in sentence


@pytest.mark.parametrize(
    ("host", "transport", "environ"),
    [
        ("functions", "", {"QUEUE_METRICS": "otlp", "QUEUE_PROVIDER": "azure"}),
        ("functions", "", {"QUEUE_RETRY_BACKOFF_MS": "1", "QUEUE_DELAYED_RETRIES": "on"}),
        ("poll", "sqs", {"AZURE_CLIENT_ID": "of other software", "AWS_REGION": "eu-west-1"}),
        ("lambda", "", {"AWS_REGION": "eu-west-1", "QUEUE_DLQ_NAME": "dlq"}),
    ],
)
def test_a_value_that_is_used_or_other_software_s_is_not_told(
    host: Any, transport: str, environ: dict[str, str]
) -> None:
    assert load_settings(environ=environ).unusable_on(host, transport) == []


def test_another_software_s_variable_is_told_where_we_were_given_it_ourselves() -> None:
    (sentence,) = load_settings({"azure_tenant_id": "t"}, environ={}).unusable_on("poll", "sqs")
    assert sentence.startswith("azure_tenant_id = t (decorator argument azure_tenant_id)")


@pytest.mark.parametrize(
    ("host", "name", "text"),
    [
        ("functions", "QUEUE_METRICS", "prometheus"),
        ("functions", "QUEUE_TRACING", "xray"),
        ("functions", "QUEUE_PROVIDER", "aws"),
        ("functions", "QUEUE_PROVIDER", "local"),
        ("functions", "QUEUE_RETRY_BACKOFF_MS", "5000"),
        ("functions", "AZURE_SERVICE_BUS_CONNECTION_STRING", "Endpoint=sb://x;SharedAccessKey=KEY"),
        ("functions", "QUEUE_TRACEBACKS", "1"),
        ("lambda", "QUEUE_METRICS", "prometheus"),
        ("lambda", "QUEUE_PROVIDER", "azure"),
        ("lambda", "QUEUE_TRACEBACKS", "1"),
    ],
)
def test_a_value_without_effect_on_a_host_is_told_where_others_have_one(
    host: Any, name: str, text: str
) -> None:
    (sentence,) = load_settings(environ={name: text}).unusable_on(host)
    assert f"({Origin('environment', name)}) has no effect on {host}" in sentence
    assert "KEY" not in sentence


@pytest.mark.parametrize(
    ("host", "environ"),
    [
        (
            "functions",
            {"QUEUE_METRICS": "otlp", "QUEUE_TRACING": "otel", "QUEUE_PROVIDER": "azure"},
        ),
        ("functions", {"QUEUE_RETRY_BACKOFF_MS": "5000", "QUEUE_DELAYED_RETRIES": "true"}),
        ("functions", {"QUEUE_TRACEBACKS": "0"}),
        ("lambda", {"QUEUE_METRICS": "emf", "QUEUE_TRACING": "xray", "QUEUE_PROVIDER": "aws"}),
        ("poll", {"QUEUE_METRICS": "prometheus", "QUEUE_TRACEBACKS": "1"}),
    ],
)
def test_what_has_an_effect_is_not_told(host: Any, environ: dict[str, str]) -> None:
    assert load_settings(environ=environ).unusable_on(host) == []


def test_the_sentence_has_the_value_its_origin_and_what_counts_instead() -> None:
    settings = load_settings(environ={"QUEUE_VISIBILITY_TIMEOUT_SECONDS": "60"})
    assert settings.unusable_on("lambda") == [
        "visibility_seconds = 60 (environment variable QUEUE_VISIBILITY_TIMEOUT_SECONDS) has no "
        "effect on lambda: the queue's own visibility timeout counts."
    ]


def test_a_number_that_python_does_not_write_is_refused_all_the_same() -> None:
    assert _lines(arguments={"concurrency": 10**5000})[1:] == [
        "argument concurrency: a number of thousands of digits cannot be concurrency; write a "
        "whole number of 1 or more, at most 10000"
    ]


def test_the_room_has_no_other_names_than_it_says() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Secrets'"):
        _ = config.Secrets
