"""The alerts fire when they must, and rules and dashboard ask for what the code exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from queue_runtime.instruments import INSTRUMENTS, Histogram
from tests.infra.template import ROOT, properties, resources

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "infra" / "observability"
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
LABELS = {
    name: set(instrument.labels) | ({"le"} if isinstance(instrument, Histogram) else set())
    for instrument in INSTRUMENTS
    for name in (
        [f"{instrument.name}_{part}" for part in ("bucket", "sum", "count")]
        if isinstance(instrument, Histogram)
        else [instrument.name]
    )
}
OF_THE_GUIDE = {
    "QueueDeadLetterRateHigh": "critical",
    "QueueConnectionFailures": "critical",
    "QueueSettleLatencyHigh": "critical",
    "QueueSendLatencyHigh": "critical",
    "QueueDepthGrowing": "critical",
    "QueueRetryRateElevated": "warning",
    "QueueSessionLocksLost": "warning",
    "QueueCredentialRefreshFailing": "warning",
}


def expressions() -> list[str]:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in ALERTS] + queries


def promtool(*arguments: str, cwd: Path = FOLDER) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: run 'make system-packages'")
    done = subprocess.run(
        ["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_must_and_not_before() -> None:
    promtool("test", "rules", "alerts.test.yaml")


def test_every_rule_is_tested() -> None:
    cases = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
    tested = {check["alertname"] for case in cases for check in case["alert_rule_test"]}
    assert tested == {rule["alert"] for rule in ALERTS}


def test_every_alert_of_the_operations_guide_is_there_with_its_severity() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}
    assert OF_THE_GUIDE.items() <= severities.items()


def test_every_query_is_promql(tmp_path: Path) -> None:
    known = {"$__rate_interval": "5m", "$queue": ".*"}
    rules = []
    for number, expression in enumerate(expressions()):
        for variable, value in known.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"checked_{number}", "expr": expression})
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", str(path))


@pytest.mark.parametrize("expression", expressions())
def test_every_query_asks_for_what_the_code_exports(expression: str) -> None:
    names = set(re.findall(r"\bqueue_[a-z_]+", expression))
    assert names
    assert names <= LABELS.keys()
    wanted = {
        label.strip()
        for labels in re.findall(r"by \(([^)]*)\)", expression)
        for label in labels.split(",")
    } | set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    assert wanted <= set().union(*(LABELS[name] for name in names))


def test_every_alert_has_a_panel_that_shows_what_it_is_about() -> None:
    shown: dict[str, set[str]] = {}
    for panel in DASHBOARD["panels"]:
        text = " ".join(target["expr"] for target in panel["targets"])
        for alert in re.findall(r"Queue\w+", panel.get("description", "")):
            shown[alert] = set(re.findall(r"\bqueue_[a-z_]+", text))
    for rule in ALERTS:
        assert set(re.findall(r"\bqueue_[a-z_]+", rule["expr"])) <= shown[rule["alert"]], rule


def test_every_metric_is_on_the_dashboard() -> None:
    asked = set(re.findall(r"\bqueue_[a-z_]+", json.dumps(DASHBOARD)))
    exported = {instrument.name for instrument in INSTRUMENTS}
    shown = {name for name in exported if any(each.startswith(name) for each in asked)}
    assert shown == exported


def test_no_two_panels_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


ALARMS = ("DeadLetters", "Failures", "Slow", "Backlog", "Retries")


@pytest.mark.parametrize("stem", ["Orders", "OrdersFifo"])
@pytest.mark.parametrize("alarm", ALARMS)
def test_each_function_has_each_alarm(stem: str, alarm: str) -> None:
    name = f"{stem}{alarm}Alarm"
    assert name in resources("AWS::CloudWatch::Alarm")
    found: dict[str, Any] = properties(name)
    assert found["TreatMissingData"] == "notBreaching"
    assert found["AlarmActions"] == {
        "Fn::If": ["Alarms", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]
    }
    of_this = [f"{stem}Function", f"{stem}Queue", f"{stem}DeadLetterQueue"]
    assert any(each in json.dumps(found) for each in of_this)
