"""Describes the configuration file as a JSON schema, which editors complete and check by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from queue_runtime.config.file import TABLE
from queue_runtime.config.table import SETTINGS

if TYPE_CHECKING:
    from queue_runtime.config.table import Setting

_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def file_schema() -> dict[str, Any]:
    """Give the schema of queue-runtime.toml and queue-runtime.yaml."""
    of_queue = {name: _of(s) for name, s in SETTINGS.items() if not s.per_process}
    settings: dict[str, Any] = {name: _of(setting) for name, setting in SETTINGS.items()}
    queues = {"type": "object", "additionalProperties": _table(of_queue)}
    settings["queue"] = {"anyOf": [settings["queue"], queues]}
    environments = {"type": "object", "additionalProperties": _table(settings)}
    root = _table({**settings, "env": environments})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of queue-runtime",
        "anyOf": [root, _table({TABLE: root})],
    }


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of(setting: Setting) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[setting.kind], "description": setting.meaning}
    if setting.default is not None:
        schema["default"] = setting.default
    if setting.choices:
        schema["enum"] = list(setting.choices)
    if setting.kind in (int, float):
        schema["exclusiveMinimum" if setting.above else "minimum"] = setting.low
        schema["maximum"] = setting.high  # every number has one
    elif setting.kind is str and not setting.choices:
        schema["minLength"] = 1
    return schema
