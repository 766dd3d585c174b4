"""The alerts fire when they must, rules and dashboard ask for what the code exports, and the docs
show both.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from queue_runtime.observability.metrics import INSTRUMENTS, Histogram
from tests.infra.template import ROOT, properties, resources
from tests.programs import program

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "infra" / "observability"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
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
# What Prometheus itself says of whom it scrapes.
OF_PROMETHEUS = {"job", "instance"}
# What an alert compares with, where its panel can show that as a line.
LIMITS = {
    "QueueDeadLetterRateHigh": 0.05,
    "QueueConnectionFailures": 0.5,
    "QueueSettleLatencyHigh": 0.5,
    "QueueSendLatencyHigh": 0.5,
    "QueueRetryRateElevated": 0.1,
    "QueueSessionLocksLost": 5,
    "QueueCircuitBreakerOpen": 2,
}
COLOURS = {"critical": "red", "warning": "orange"}


def expressions() -> list[str]:
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [rule["expr"] for rule in RULES] + queries


def metrics(expression: str) -> set[str]:
    """Give what an expression asks for, that behind a recorded name included."""
    for name, recorded in RECORDED.items():
        expression = expression.replace(name, recorded)
    return set(re.findall(r"\bqueue_[a-z_]+", expression))


def alerts_of(panel: dict[str, Any]) -> list[str]:
    return re.findall(r"Queue\w+", panel["description"].partition("Alerts: ")[2])


def limits(panel: dict[str, Any]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})[
        "steps"
    ]
    return steps[1:]


def promtool(*arguments: str, cwd: Path = FOLDER) -> None:
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_must_and_not_before() -> None:
    promtool("test", "rules", "alerts.test.yaml")


def test_every_rule_is_tested() -> None:
    cases = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
    tested = {check["alertname"] for case in cases for check in case["alert_rule_test"]}
    assert tested == ALERTS.keys()


def test_every_alert_of_the_operations_guide_is_there_with_its_severity() -> None:
    severities = {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
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
    names = metrics(expression)
    assert names
    assert names <= LABELS.keys()
    wanted = {
        label.strip()
        for labels in re.findall(r"by \(([^)]*)\)", expression)
        for label in labels.split(",")
    } | set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    assert wanted <= OF_PROMETHEUS.union(*(LABELS[name] for name in names))


def test_every_alert_has_panels_that_show_what_it_is_about() -> None:
    shown: dict[str, set[str]] = {name: set() for name in ALERTS}
    for panel in PANELS:
        asked = metrics(" ".join(target["expr"] for target in panel["targets"]))
        for alert in alerts_of(panel):
            shown[alert] |= asked
    for name, rule in ALERTS.items():
        # A histogram's count says whether its quantile means anything.
        wanted = {each.replace("_count", "_bucket") for each in metrics(rule["expr"])}
        assert wanted <= {each.replace("_count", "_bucket") for each in shown[name]}, name


def test_a_panels_line_is_where_its_alerts_begin() -> None:
    drawn = {}
    for panel in PANELS:
        for alert in alerts_of(panel) if limits(panel) else ():
            (limit,) = limits(panel)
            assert limit["color"] == COLOURS[ALERTS[alert]["labels"]["severity"]], alert
            drawn[alert] = limit["value"]
    assert drawn == LIMITS


@pytest.mark.parametrize(("alert", "limit"), LIMITS.items())
def test_an_alert_begins_where_its_panels_line_is(alert: str, limit: float) -> None:
    if alert == "QueueConnectionFailures":
        return  # more failures than answers is more than half
    compared = re.findall(r"(?:>|==) ([\d.]+)", ALERTS[alert]["expr"])
    assert limit in map(float, compared)


def test_what_critical_alerts_are_about_is_seen_first() -> None:
    rows = {panel["title"]: panel["gridPos"]["y"] for panel in DASHBOARD["panels"]} | {
        "Critical": 0
    }
    assert DASHBOARD["panels"][0]["title"] == "Critical"
    for panel in PANELS:
        severities = {ALERTS[alert]["labels"]["severity"] for alert in alerts_of(panel)}
        y = panel["gridPos"]["y"]
        if "warning" in severities:
            assert rows["Warnings"] < y < rows["Traffic and times"], panel["title"]
        elif severities:
            assert y < rows["Warnings"], panel["title"]


def test_every_query_is_of_the_queues_and_the_source_that_were_chosen() -> None:
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "queue"]
    assert "id" not in DASHBOARD
    asking = [*PANELS, *(target for panel in PANELS for target in panel["targets"])]
    for each in [*asking, *DASHBOARD["annotations"]["list"]]:
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        for target in panel["targets"]:
            selectors = re.findall(r"\bqueue_[a-z_]+({[^}]*})?", target["expr"])
            assert all('queue=~"$queue"' in each for each in selectors), target["expr"]


def test_every_metric_is_on_the_dashboard() -> None:
    asked = set(re.findall(r"\bqueue_[a-z_]+", json.dumps(DASHBOARD)))
    exported = {instrument.name for instrument in INSTRUMENTS}
    shown = {name for name in exported if any(each.startswith(name) for each in asked)}
    assert shown == exported


def test_every_alert_is_in_the_runbook() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    assert set(re.findall(r"`(Queue\w+)`", page)) == ALERTS.keys()


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


def test_the_picture_is_of_this_dashboard() -> None:
    text = (ROOT / "docs" / "observability" / "dashboard.svg").read_text()
    titles = {each.lstrip("▾ ") for each in re.findall(r'class="title">([^<]*)<', text)}
    again = "run 'make dashboard-picture'"
    assert titles == {panel["title"] for panel in DASHBOARD["panels"]}, again
    assert text.count('class="limit"') == sum(len(limits(panel)) for panel in PANELS), again
    assert "No data" not in text


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
