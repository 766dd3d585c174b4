"""What template.yaml must have, or messages are lost, run twice, or given up too early."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from queue_runtime.config import load_settings
from tests.infra.template import (
    ROOT,
    local_environment,
    properties,
    resources,
    sam_defaults,
    target,
    template,
)
from tests.lambda_runtime.build import run_sam

FUNCTIONS = sorted(resources("AWS::Serverless::Function"))
POLLING = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ChangeMessageVisibility",
}
DEFAULT_RETENTION = 345_600  # 4 days

each_function = pytest.mark.parametrize("name", FUNCTIONS)


def event_source(name: str) -> dict[str, Any]:
    (event,) = properties(name)["Events"].values()
    assert event["Type"] == "SQS"
    source: dict[str, Any] = event["Properties"]
    return source


def source_queue(name: str) -> str:
    return target(event_source(name)["Queue"])


def dead_letter_queue(name: str) -> str:
    return target(properties(source_queue(name))["RedrivePolicy"]["deadLetterTargetArn"])


def test_there_is_a_function_for_a_standard_and_one_for_a_fifo_queue() -> None:
    assert FUNCTIONS == ["OrdersFifoFunction", "OrdersFunction"]
    kinds = [properties(source_queue(name)).get("FifoQueue", False) for name in FUNCTIONS]
    assert kinds == [True, False]


@each_function
def test_only_failed_messages_of_a_batch_come_back(name: str) -> None:
    assert event_source(name)["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@each_function
def test_visibility_is_six_times_the_timeout_and_the_window_for_every_timeout(name: str) -> None:
    globals_, parameters = template()["Globals"]["Function"], template()["Parameters"]
    assert globals_["Timeout"] == {"Ref": "FunctionTimeout"}
    assert "Timeout" not in properties(name)
    assert properties(source_queue(name))["VisibilityTimeout"] == {
        "Fn::FindInMap": ["Visibility", {"Ref": "FunctionTimeout"}, "Seconds"]
    }
    window = parameters["BatchingWindow"]["MaxValue"]
    visibility = template()["Mappings"]["Visibility"]
    assert sorted(visibility) == sorted(parameters["FunctionTimeout"]["AllowedValues"])
    for timeout, row in visibility.items():
        assert row["Seconds"] >= 6 * int(timeout) + window


def test_batches_over_ten_which_need_a_window_cannot_be_asked_for() -> None:
    assert template()["Parameters"]["BatchSize"]["MaxValue"] == 10
    fifo = event_source("OrdersFifoFunction")
    assert "MaximumBatchingWindowInSeconds" not in fifo  # Lambda refuses it there


@each_function
def test_the_redrive_policy_takes_a_message_only_after_the_handler_gave_it_up(name: str) -> None:
    module, _, attribute = properties(name)["Handler"].rpartition(".")
    handler = getattr(importlib.import_module(module), attribute)
    settings = load_settings(handler.definition.settings, environ={})
    policy = properties(source_queue(name))["RedrivePolicy"]
    assert policy["maxReceiveCount"] >= settings.max_deliveries + 3


@each_function
def test_the_dead_letter_queue_is_of_the_same_kind_and_keeps_longer(name: str) -> None:
    source, dead = properties(source_queue(name)), properties(dead_letter_queue(name))
    assert source.get("FifoQueue") == dead.get("FifoQueue")
    assert dead["MessageRetentionPeriod"] > source.get("MessageRetentionPeriod", DEFAULT_RETENTION)


@each_function
def test_the_handler_dead_letters_to_where_the_redrive_policy_does(name: str) -> None:
    variables = properties(name)["Environment"]["Variables"]
    assert variables["QUEUE_DLQ_NAME"] == {"Fn::GetAtt": [dead_letter_queue(name), "QueueName"]}


@each_function
def test_the_role_allows_exactly_what_is_needed_on_exactly_these_resources(name: str) -> None:
    function = properties(name)
    assert "Policies" not in function  # SAM would add them to a role that reads every queue
    role = properties(target(function["Role"]))
    assert role.keys() == {"AssumeRolePolicyDocument", "Policies"}
    (policy,) = role["Policies"]
    allowed = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        allowed[target(statement["Resource"])] = (
            set(actions) if isinstance(actions, list) else {actions}
        )
    assert allowed == {
        source_queue(name): POLLING,
        dead_letter_queue(name): {"sqs:SendMessage"},
        function["LoggingConfig"]["LogGroup"]["Ref"]: {"logs:CreateLogStream", "logs:PutLogEvents"},
    }


@each_function
def test_every_function_is_built_for_the_runtime_that_it_runs_on(name: str) -> None:
    recipe = (ROOT / "infra" / "lambda-build.mk").read_text()
    assert re.search(rf"^build-.*\bbuild-{name}\b|^build-{name}\b", recipe, re.MULTILINE)
    assert template()["Resources"][name]["Metadata"] == {
        "BuildMethod": "makefile",
        "ContextPath": ".",
        "WorkingDirectory": ".",
    }
    defaults = dict(re.findall(r"^(\w+) \?= (.+)$", recipe, re.MULTILINE))
    globals_ = template()["Globals"]["Function"]
    assert globals_["Runtime"] == f"python{defaults['LAMBDA_PYTHON']}"
    assert globals_["Architectures"] == [defaults["LAMBDA_MACHINE"]]


def test_local_variables_are_ones_that_sam_would_pass_on() -> None:
    # It silently drops a variable that the template does not declare.
    assert sorted(local_environment()) == FUNCTIONS
    for name, variables in local_environment().items():
        assert variables.keys() <= properties(name)["Environment"]["Variables"].keys()


def test_local_invoke_without_a_name_means_the_standard_queues_function() -> None:
    defaults = sam_defaults()["default"]["local_invoke"]["parameters"]
    assert defaults["function_logical_id"] == "OrdersFunction"


@pytest.mark.emulator
def test_the_sam_cli_finds_nothing_wrong() -> None:
    output = run_sam("validate", "--lint", "--region", "us-east-1")
    assert "is a valid SAM Template" in output
