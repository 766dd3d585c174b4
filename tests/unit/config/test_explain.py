from __future__ import annotations

import json
from typing import TYPE_CHECKING

from queue_runtime.config import load_settings
from queue_runtime.config.schema import file_schema
from queue_runtime.config.table import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=hunter2"


def test_a_row_has_all_there_is_to_know_of_a_setting(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text("\nconcurrency = 3\n")
    environ = {"QUEUE_CONCURRENCY": "4"}
    settings = load_settings({"concurrency": 2}, environ=environ, arguments={"concurrency": 5})
    row = next(row for row in settings.explain() if row.name == "concurrency")
    assert repr(row) == "<Explanation concurrency = 5 (argument concurrency)>"
    assert row.as_dict() == {
        "name": "concurrency",
        "value": "5",
        "layer": "argument",
        "source": "argument concurrency",
        "reference": "",
        "shadows": [
            {"source": "environment variable QUEUE_CONCURRENCY", "value": "4"},
            {"source": "file queue-runtime.toml:2, key concurrency", "value": "3"},
            {"source": "decorator argument concurrency", "value": "2"},
        ],
        "default": "10",
        "takes": "a whole number of 1 or more, at most 10000",
        "meaning": SETTINGS["concurrency"].meaning,
        "variables": ["QUEUE_CONCURRENCY"],
        "no_effect": {"functions": "host.json says how many calls run at the same time"},
    }


def test_no_row_shows_a_secret_nor_one_that_was_replaced() -> None:
    environ = {"AZURE_SERVICE_BUS_CONNECTION_STRING": SECRET}
    settings = load_settings(
        {"connection_string": SECRET, "queue": "amqp://u:hunter2@h/q"},
        environ=environ,
        arguments={"queue": "orders"},
    )
    shown = json.dumps([row.as_dict() for row in settings.explain()])
    assert "hunter2" not in shown
    assert "amqp://u:***@h/q" in shown


def test_the_schema_knows_every_setting_and_its_bounds() -> None:
    root, ours = file_schema()["anyOf"]
    settings = root["properties"]
    assert {*SETTINGS, "env"} == set(settings)
    assert settings["concurrency"] == {
        "type": "integer",
        "description": SETTINGS["concurrency"].meaning,
        "default": 10,
        "minimum": 1,
        "maximum": 10000,
    }
    assert settings["visibility_seconds"]["exclusiveMinimum"] == 0
    assert settings["provider"]["enum"] == ["azure", "aws", "local"]
    of_queue = settings["queue"]["anyOf"][1]["additionalProperties"]
    assert of_queue["additionalProperties"] is False
    assert "processes" not in of_queue["properties"]
    assert ours["properties"]["queue-runtime"] == root
    json.dumps(file_schema())
