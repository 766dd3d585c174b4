"""Reads template.yaml with its short forms, and configuration files beside it."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags, each read as the long form that it stands for."""


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)


@cache
def template() -> dict[str, Any]:
    """Read template.yaml."""
    text = (ROOT / "template.yaml").read_text()
    content: dict[str, Any] = yaml.load(text, _Loader)  # a SafeLoader with tags
    return content


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Give the resources of one type by logical id."""
    every = template()["Resources"]
    return {name: each for name, each in every.items() if each["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    """Give a resource's properties."""
    found: dict[str, Any] = template()["Resources"][name]["Properties"]
    return found


def target(reference: dict[str, list[str]]) -> str:
    """Give the logical id that a GetAtt names."""
    return reference["Fn::GetAtt"][0]


def local_environment() -> dict[str, dict[str, str]]:
    """Read what `sam local invoke --env-vars` is given."""
    content: dict[str, dict[str, str]] = json.loads(
        (ROOT / "functions" / "env.local.json").read_text()
    )
    return content


def sam_defaults() -> dict[str, Any]:
    """Read samconfig.toml."""
    return tomllib.loads((ROOT / "samconfig.toml").read_text())
