from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_runtime.config import load_settings
from queue_runtime.config.load import refuse_rebinding
from queue_runtime.config.names import table_name
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
concurrency = 3
[queue.orders]
concurrency = 6
[env.prod]
concurrency = 4
[env.prod.queue.orders]
concurrency = 7
[env.test.queue.orders]
concurrency = 1
"""
# The layers from the weakest to the strongest, each with a value of its own.
RANKS = (
    "author",
    "file",
    "file-env",
    "variable",
    "queue",
    "queue-env",
    "queue-variable",
    "argument",
)


def _layered(folder: Path, used: set[str]) -> Any:
    lines, environ, tables = [], {"QUEUE_ENVIRONMENT": "prod"}, []
    if "file" in used:
        lines.append("concurrency = 2")
    tables += ["[env.prod]", "concurrency = 3"] if "file-env" in used else ["[env.prod]"]
    tables += ["[queue.orders]", "concurrency = 5"] if "queue" in used else []
    tables += ["[env.prod.queue.orders]", "concurrency = 6"] if "queue-env" in used else []
    (folder / "f.toml").write_text("\n".join([*lines, *tables]))
    if "variable" in used:
        environ["QUEUE_CONCURRENCY"] = "4"
    if "queue-variable" in used:
        environ["QUEUE__ORDERS__CONCURRENCY"] = "7"
    author: dict[str, object] = {"queue": "orders"} | (
        {"concurrency": 1} if "author" in used else {}
    )
    arguments: dict[str, object] = {"concurrency": 8} if "argument" in used else {}
    return load_settings(author, file=folder / "f.toml", environ=environ, arguments=arguments)


@given(used=st.sets(st.sampled_from(RANKS)))
def test_the_strongest_layer_wins_and_the_others_are_told_in_order(
    tmp_path_factory: pytest.TempPathFactory, used: set[str]
) -> None:
    settings = _layered(tmp_path_factory.mktemp("f"), used)
    said = [1 + at for at, rank in enumerate(RANKS) if rank in used]
    assert settings.concurrency == (said[-1] if said else 10)
    assert [value for _, value in settings.shadowed("concurrency")] == said[-2::-1]


def test_a_queue_s_table_is_for_that_queue_alone(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text(FILE)
    environ = {"QUEUE_ENVIRONMENT": "prod", "QUEUE_CONCURRENCY": "5"}
    assert load_settings({"queue": "orders"}, environ=environ).concurrency == 7
    assert load_settings({"queue": "refunds"}, environ=environ).concurrency == 5
    assert (
        load_settings({"queue": "orders"}, environ={"QUEUE_ENVIRONMENT": "test"}).concurrency == 1
    )
    other = load_settings({"queue": "orders"}, environ={})
    assert other.concurrency == 6
    assert other.warnings == [
        "file queue-runtime.toml: [env.prod], [env.test] is not read; set QUEUE_ENVIRONMENT to "
        "choose one"
    ]


def test_a_table_is_found_by_the_decorator_s_name_and_may_give_another(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text(
        '[env.prod.queue.orders]\nqueue = "sqs://prod-orders"\n[queue.prod-orders]\nin_flight = 9\n'
    )
    settings = load_settings({"queue": "orders"}, environ={"QUEUE_ENVIRONMENT": "prod"})
    assert settings.queue == "sqs://prod-orders"
    assert load_settings(environ={"QUEUE_NAME": "sqs://1/prod-orders"}).in_flight == 9
    given = load_settings({"queue": "x"}, environ={}, arguments={"--queue": "local://prod-orders"})
    assert given.in_flight == 9


def test_a_queue_s_variable_is_in_the_guide_s_unit_and_knows_its_name() -> None:
    environ = {
        "QUEUE__A_B_FIFO__MAX_RETRY_ATTEMPTS": "1",
        "QUEUE__A_B_FIFO__DLQ_NAME": "dead",
        "QUEUE__OTHER__MAX_RETRY_ATTEMPTS": "9",
    }
    settings = load_settings({"queue": "a-b.fifo"}, environ=environ)
    assert (settings.max_deliveries, settings.dead_letter) == (2, "dead")
    assert settings.origin("max_deliveries").key == "QUEUE__A_B_FIFO__MAX_RETRY_ATTEMPTS"


def _wrong(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(*args, **kwargs)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_everything_wrong_in_tables_and_variables_of_queues_is_told_at_once(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text(
        "[queue.orders]\nconcurency = 1\n[queue.other]\nconcurrency = 0\nprocesses = 2\n"
        "[env.dev]\nqueue.x.in_flight = 'y'\n[env]\nprod = 1\n"
    )
    environ = {
        "QUEUE_ENVIRONMENT": "dv",
        "QUEUE__ORDERS__CONCURRENCY": "x",
        "QUEUE__ORDERS__MAX_DELIVERIES": "3",
        "QUEUE__ORDERS__CONCURENCY": "3",
        "QUEUE__OTHER__ZZZ": "3",
    }
    assert _wrong({"queue": "orders"}, environ=environ) == [
        "file queue-runtime.toml:9, key env.prod: is no table; write [env.NAME]",
        "file queue-runtime.toml: has no table [env.dv]; did you mean [env.dev]?",
        "file queue-runtime.toml:4, key queue.other.concurrency: 0 cannot be concurrency; write a "
        "whole number of 1 or more, at most 10000",
        "file queue-runtime.toml:5, key queue.other.processes: processes is one for the whole "
        "process; write it above the tables",
        "file queue-runtime.toml:7, key env.dev.queue.x.in_flight: 'y' cannot be in_flight; write "
        "a whole number of 1 or more, at most 120000",
        "file queue-runtime.toml:2, key queue.orders.concurency: is no setting; did you mean "
        "concurrency?",
        "environment variable QUEUE__ORDERS__CONCURENCY: CONCURENCY is no setting; did you mean "
        "QUEUE_CONCURRENCY?",
        "environment variable QUEUE__ORDERS__CONCURRENCY: 'x' cannot be concurrency; write a whole "
        "number of 1 or more, at most 10000",
        "environment variable QUEUE__ORDERS__MAX_DELIVERIES: MAX_DELIVERIES is no setting; write "
        "QUEUE__ORDERS__MAX_RETRY_ATTEMPTS",
        "environment variable QUEUE__OTHER__ZZZ: ZZZ is no setting; remove it",
    ]


def test_variables_that_could_mean_two_queues_are_refused(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text("[queue.a-b]\n[queue.'a.b']\n")
    lines = _wrong({"queue": "a-b"}, environ={"QUEUE__A_B__CONCURRENCY": "2"})
    assert lines == [
        "environment variable QUEUE__A_B__CONCURRENCY: could mean a-b and a.b; say it in the file, "
        "or rename one"
    ]
    assert load_settings({"queue": "a-b"}, environ={}).concurrency == 10


@pytest.mark.parametrize(
    ("queue", "name"),
    [
        ("orders", "orders"),
        ("sqs://123456789012/orders.fifo?x=1", "orders.fifo"),
        ("sqs://arn:aws:sqs:eu-west-1:1:orders", "orders"),
        ("arn:aws:sqs:eu-west-1:1:orders", "orders"),
        ("https://sqs.eu-west-1.amazonaws.com/1/orders", "orders"),
        ("servicebus://ns/topic/sub", "topic/sub"),
        ("servicebus:///orders", "orders"),
        ("servicebus://orders", "orders"),
        ("local://orders?memory", "orders"),
    ],
)
def test_a_queue_is_known_by_its_own_name(queue: str, name: str) -> None:
    assert table_name(queue) == name


NAMED = {
    "QUEUE_NAME_TEMPLATE": "{environment}-{application}-{purpose}",
    "QUEUE_ENVIRONMENT": "prod",
}


def test_the_template_names_queues_of_decorator_and_file_but_not_of_variables() -> None:
    environ = {**NAMED, "QUEUE_APPLICATION": "task-tactician"}
    author = {"queue": "main", "dead_letter": "dlq"}
    settings = load_settings(author, environ=environ)
    assert (settings.queue, settings.dead_letter) == (
        "prod-task-tactician-main",
        "prod-task-tactician-dlq",
    )
    assert load_settings(author, environ={**environ, "QUEUE_NAME": "x"}).queue == "x"
    assert load_settings({"queue": "sqs://main"}, environ=environ).queue == "sqs://main"
    assert settings.replace(concurrency=2).queue == "prod-task-tactician-main"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (
            "{environment}-{application}-{purpose}",
            "{application} is in it and not said; set QUEUE_",
        ),
        ("{environment}-{stage}-{purpose}", "it has other parts than {environment}, {application}"),
        ("{environment}", "all queues would have one name; write {purpose} into it"),
    ],
)
def test_a_template_that_cannot_name_a_queue_is_refused(template: str, why: str) -> None:
    (line,) = _wrong({"queue": "main"}, environ={**NAMED, "QUEUE_NAME_TEMPLATE": template})
    assert line.startswith("environment variable QUEUE_NAME_TEMPLATE: cannot name queue: ")
    assert why in line


def _named(own: str | None, environ: dict[str, str]) -> tuple[str, object, Any]:
    return ("app:take", own, load_settings({"queue": own}, environ=environ))


def test_one_variable_does_not_rebind_several_handlers() -> None:
    environ = {"QUEUE_NAME": "orders"}
    with pytest.raises(SettingsError) as caught:
        refuse_rebinding([_named("orders", environ), _named("refunds", environ)])
    assert str(caught.value).splitlines() == [
        "several handlers would share one queue:",
        "  app:take names refunds in its decorator, and environment variable QUEUE_NAME says "
        "orders for all; leave that out, or say it for each queue",
    ]


@pytest.mark.parametrize(
    "named",
    [
        [("refunds", {"QUEUE_NAME": "orders"})],
        [("orders", {"QUEUE_NAME": "orders"}), ("orders", {"QUEUE_NAME": "sqs://orders"})],
        [("orders", {}), ("refunds", {})],
        [(None, {"QUEUE_NAME": "orders"}), (None, {"QUEUE_NAME": "orders"})],
        [("a", {"QUEUE__A__NAME": "x"}), ("b", {"QUEUE__B__NAME": "y"})],
    ],
)
def test_handlers_whose_queues_agree_start(named: list[tuple[str | None, dict[str, str]]]) -> None:
    refuse_rebinding([_named(own, environ) for own, environ in named])


def test_a_file_s_one_name_does_not_rebind_several_handlers_either(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text('queue = "orders"\n')
    with pytest.raises(SettingsError, match=r"file queue-runtime\.toml:1, key queue says orders"):
        refuse_rebinding([_named("orders", {}), _named("refunds", {})])


def test_two_handlers_whose_variables_cannot_be_told_apart_are_refused() -> None:
    environ = {"QUEUE__A_B__CONCURRENCY": "2"}
    with pytest.raises(SettingsError, match=r"QUEUE__A_B__… could mean a-b and a\.b"):
        refuse_rebinding([_named("a-b", environ), _named("a.b", environ)])
    refuse_rebinding([_named("a-b", {}), _named("a.b", {})])
