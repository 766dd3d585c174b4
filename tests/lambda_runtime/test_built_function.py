"""The folder that `sam build` makes, run by AWS's own runtime: one event in, one answer out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.testing import sqs_event, sqs_record
from tests.infra.template import ROOT, properties
from tests.lambda_runtime.emulator import LambdaEmulator

if TYPE_CHECKING:
    from tests.lambda_runtime.conftest import MakeQueues
    from tests.lambda_runtime.emulator import Reply

HANDLERS = Path(__file__).parent / "handlers"
TAKE_ORDER = properties("OrdersFunction")["Handler"]

pytestmark = pytest.mark.emulator


def example(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "functions" / "events" / f"{name}.json").read_text())
    return event


def ids(event: dict[str, Any], *positions: int) -> list[str]:
    """Give the message ids of an event's records, which are counted from 1."""
    return [event["Records"][position - 1]["messageId"] for position in positions]


def returned(reply: Reply) -> list[str]:
    assert not reply.failed, reply
    return [item["itemIdentifier"] for item in reply.payload["batchItemFailures"]]


def test_the_build_holds_the_code_and_its_locked_dependencies_and_nothing_else(
    task_root: Path,
) -> None:
    names = {path.name for path in task_root.iterdir()}
    assert names >= {"queue_runtime", "functions", "pydantic", "pydantic_core", "botocore"}
    assert not names & {"tests", "infra", "bin", "requirements", "awslambdaric", "pytest"}
    locked = (ROOT / "requirements" / "aws.txt").read_text()
    installed = {
        tuple(path.name.removesuffix(".dist-info").rsplit("-", 1))
        for path in task_root.glob("*.dist-info")
    }
    wanted = {
        tuple(line.split()[0].replace("-", "_").split("=="))
        for line in locked.splitlines()
        if "==" in line
    }
    assert {(name.replace("-", "_"), version) for name, version in installed} == wanted


def test_every_module_has_bytecode_that_is_used_without_a_look_at_its_source(
    task_root: Path,
) -> None:
    tag = sys.implementation.cache_tag
    modules = [
        path
        for package in ("queue_runtime", "functions", "pydantic", "botocore")
        for path in (task_root / package).rglob("*.py")
    ]
    assert len(modules) > 100
    for module in modules:
        bytecode = module.parent / "__pycache__" / f"{module.stem}.{tag}.pyc"
        # Byte 4: hash-based, and not checked (https://peps.python.org/pep-0552/).
        assert bytecode.read_bytes()[4:8] == b"\x01\x00\x00\x00", module


def test_it_is_the_built_folder_that_runs(task_root: Path) -> None:
    event = sqs_event("x")
    with LambdaEmulator(task_root, "decorated.where", layers=[HANDLERS]) as function:
        reply = function.invoke(event)
    assert returned(reply) == []
    assert f"code {task_root}/queue_runtime/__init__.py" in reply.logs


def test_success(task_root: Path, function_env: dict[str, str]) -> None:
    event = sqs_event({"id": "a", "amount": "1"}, {"id": "b", "amount": "2"})
    with LambdaEmulator(task_root, TAKE_ORDER, env=function_env) as function:
        replies = [function.invoke(event) for _ in range(2)]
    assert [returned(reply) for reply in replies] == [[], []]


def test_partial_failure(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues, event = make_queues(), example("standard")
    env = {**function_env, "QUEUE_DLQ_NAME": queues.dead_letter_name}
    with LambdaEmulator(task_root, TAKE_ORDER, env=env) as function:
        reply = function.invoke(event)
    assert returned(reply) == ids(event, 2, 5)
    dead = queues.take_dead_letters()
    assert sorted(dead) == sorted(ids(event, 3, 4, 6))
    reasons = [dead[identity].facts["reason"] for identity in ids(event, 3, 4, 6)]
    assert reasons[0] == "negative amount"
    assert reasons[1].startswith("poison")
    assert "LedgerOfflineError" in reasons[2]


def test_log_lines_name_the_message_and_never_show_its_body(
    task_root: Path, function_env: dict[str, str]
) -> None:
    event = example("standard")
    with LambdaEmulator(task_root, TAKE_ORDER, env=function_env) as function:
        reply = function.invoke(event)
    lines = [json.loads(line) for line in reply.logs.splitlines() if line.startswith("{")]
    by_message = {line["message_id"]: line for line in lines if "message_id" in line}
    assert sorted(by_message) == sorted(ids(event, 1, 2, 3, 4, 5, 6, 7))
    for line in by_message.values():
        # The runtime's own formatter leaves out what is None: here session and correlation id.
        assert line["queue_name"] == "orders"
        assert line["operation"] in {"complete", "abandon", "dead_letter"}
        assert line["delivery_count"] >= 1
    assert by_message[ids(event, 1)[0]]["correlation_id"] == "checkout-77"
    for record in event["Records"]:
        assert record["body"] not in reply.logs
    assert "49.90" not in reply.logs


def test_fifo_returns_the_rest_of_a_failed_group_and_no_other(
    task_root: Path, function_env: dict[str, str]
) -> None:
    event = example("fifo")
    with LambdaEmulator(task_root, TAKE_ORDER, env=function_env) as function:
        reply = function.invoke(event)
    assert returned(reply) == ids(event, 3, 4)


def test_sns_wrapped_orders(
    task_root: Path, function_env: dict[str, str], make_queues: MakeQueues
) -> None:
    queues, event = make_queues(), example("sns")
    env = {**function_env, "QUEUE_DLQ_NAME": queues.dead_letter_name}
    with LambdaEmulator(task_root, "functions.orders.take_order_from_sns", env=env) as function:
        reply = function.invoke(event)
    assert returned(reply) == []
    # What is in an envelope has the id that SNS gave it; what has none keeps the queue's.
    inside, without = event["Records"][1:3]
    told = [json.loads(inside["body"])["MessageId"], without["messageId"]]
    assert sorted(queues.take_dead_letters()) == sorted(told)


def test_poison_without_a_dead_letter_queue_comes_back_and_is_said(
    task_root: Path, function_env: dict[str, str]
) -> None:
    event = example("poison")
    with LambdaEmulator(task_root, TAKE_ORDER, env=function_env) as function:
        reply = function.invoke(event)
        again = function.invoke(event)
    assert returned(reply) == returned(again) == ids(event, 1, 2, 3, 4)
    sentence = "no dead-letter queue is configured (QUEUE_DLQ_NAME"
    assert reply.logs.count(sentence) == 1
    assert sentence not in again.logs


@pytest.mark.parametrize(
    ("event", "says"),
    [
        pytest.param({}, "no list of Records", id="no Records"),
        pytest.param([], "is a list", id="no object"),
        pytest.param(
            {"Records": [sqs_record(1.0), {**sqs_record(1.0), "messageId": ""}]},
            "record 2 of 2: it has no messageId",
            id="missing id",
        ),
        pytest.param(
            {"Records": [sqs_record(1.0), {"eventSource": "aws:kinesis"}]},
            "record 2 of 2: it comes from 'aws:kinesis'",
            id="foreign source",
        ),
    ],
)
def test_an_event_that_is_not_of_sqs_is_a_function_error_before_anything_runs(
    task_root: Path, event: Any, says: str
) -> None:
    with LambdaEmulator(task_root, "decorated.slow", layers=[HANDLERS]) as function:
        reply = function.invoke(event)
    assert (reply.failed, reply.error_type) == (True, "EventError")
    assert says in reply.payload["errorMessage"]
    assert "started" not in reply.logs


def test_before_the_timeout_a_sync_handler_returns_what_it_did_not_start(
    task_root: Path, function_env: dict[str, str]
) -> None:
    event = sqs_event(*[1.7] * 10)  # 17 seconds of work
    with LambdaEmulator(
        task_root, "decorated.slow", env=function_env, timeout=7, layers=[HANDLERS]
    ) as function:
        reply = function.invoke(event)
    back = returned(reply)
    done = [identity for identity in ids(event, *range(1, 11)) if identity not in back]
    assert done
    assert back == ids(event, *range(len(done) + 1, 11))
    for identity in done:
        assert f"finished {identity}" in reply.logs
    for identity in back:
        assert f"started {identity}" not in reply.logs


def test_before_the_timeout_running_async_handlers_are_cancelled_and_returned(
    task_root: Path, function_env: dict[str, str]
) -> None:
    event = sqs_event(0.1, 600.0, 0.1, 600.0)
    with LambdaEmulator(
        task_root, "decorated.slow_async", env=function_env, timeout=5, layers=[HANDLERS]
    ) as function:
        reply = function.invoke(event)
    assert returned(reply) == ids(event, 2, 4)
    assert reply.logs.count("finished") == 2


def test_a_sync_handler_that_never_returns_is_ended_by_lambda_with_its_batch(
    task_root: Path,
) -> None:
    with LambdaEmulator(task_root, "decorated.slow", timeout=2, layers=[HANDLERS]) as function:
        reply = function.invoke(sqs_event(600.0))
        after = function.invoke(sqs_event(0.0))
    assert reply.timed_out
    assert returned(after) == []


def test_a_wrong_handler_fails_at_init_with_what_to_write(task_root: Path) -> None:
    with LambdaEmulator(task_root, "undecodable.take", layers=[HANDLERS]) as function:
        reply = function.invoke(sqs_event("x"))
    assert (reply.status, reply.error_type) == (502, "HandlerDefinitionError")
    assert "take" in reply.payload["errorMessage"]


def test_a_wrong_setting_fails_at_init_and_not_on_a_message(task_root: Path) -> None:
    env = {"QUEUE_MAX_RETRY_ATTEMPTS": "many"}
    with LambdaEmulator(task_root, TAKE_ORDER, env=env) as function:
        reply = function.invoke(sqs_event("x"))
    assert (reply.status, reply.error_type) == (502, "SettingsError")
    assert "QUEUE_MAX_RETRY_ATTEMPTS" in reply.payload["errorMessage"]


def test_a_batch_of_5_megabytes(task_root: Path) -> None:
    event = sqs_event(*["x" * 1_000_000] * 5)
    with LambdaEmulator(task_root, "decorated.measure", layers=[HANDLERS]) as function:
        reply = function.invoke(event)
    assert returned(reply) == []
    assert reply.logs.count("1000000 characters") == 5
