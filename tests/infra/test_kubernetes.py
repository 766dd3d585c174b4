"""The example for Kubernetes asks for what a poller answers, and gives it time to end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from functions.orders import take_order
from queue_runtime.cli.targets import find_handler
from queue_runtime.config import load_settings
from queue_runtime.dispatch import CANCEL_SECONDS
from queue_runtime.hosts.poller import Poller, observation, run
from queue_runtime.hosts.poller.health import Health, answer
from queue_runtime.transports import open_transport, threads
from tests.infra.template import ROOT

DEPLOYMENT, SERVICE, SCALED = yaml.safe_load_all(
    (ROOT / "infra" / "kubernetes" / "poller.yaml").read_text()
)
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SETTINGS = load_settings(
    take_order.definition.settings,
    environ={each["name"]: each["value"] for each in CONTAINER["env"]},
)
# What cancelling, settling, flushing and closing connections may take beyond the drain.
AFTER_THE_DRAIN = (
    CANCEL_SECONDS + run.SETTLE_SECONDS + observation._FLUSH_SECONDS + 2 * threads.END_SECONDS
)


def test_it_runs_a_handler_that_is_there() -> None:
    assert CONTAINER["command"][:2] == ["queue-runtime", "poll"]
    assert find_handler(CONTAINER["command"][2]) is take_order


def test_it_has_the_time_to_end() -> None:
    assert POD["terminationGracePeriodSeconds"] > SETTINGS.drain_seconds + AFTER_THE_DRAIN


def test_all_name_one_port_and_one_app() -> None:
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == SETTINGS.health_port == SERVICE["spec"]["ports"][0]["port"]
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert labels == DEPLOYMENT["spec"]["selector"]["matchLabels"] == SERVICE["spec"]["selector"]
    assert SCALED["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]


@pytest.fixture
def answers() -> Any:
    settings = load_settings(environ={})
    queue = open_transport("local://q?memory", settings=settings)
    health = Health([Poller(take_order, queue)])
    return lambda path: asyncio.run(answer(health, path))


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_the_probes_are_answered(probe: str, answers: Any) -> None:
    asked = CONTAINER[probe]["httpGet"]
    assert asked["port"] == CONTAINER["ports"][0]["name"]
    assert answers(asked["path"])[0] == 200


def test_the_scaler_reads_what_is_there(answers: Any) -> None:
    (trigger,) = SCALED["spec"]["triggers"]
    path = "/" + trigger["metadata"]["url"].rpartition("/")[2]
    assert json.loads(answers(path)[2])[trigger["metadata"]["valueLocation"]] == 0
