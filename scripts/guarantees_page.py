"""Writes docs/guarantees.md from docs/guarantees.toml:  guarantees_page [--check]."""

from __future__ import annotations

import sys
import tomllib
from typing import Any, Final

from queue_runtime.errors import TransportError
from queue_runtime.message import Message
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.failures import SettleFailure, after
from queue_runtime.settlement.plan import Abilities, Action, Rules, Step, plan
from scripts import generated

PAGE = generated.DOCS / "guarantees.md"
SOURCE = generated.DOCS / "guarantees.toml"

# Stands for whatever the policy says.
_BACKOFF: Final = 1.5
RULES: Final = Rules(lambda deliveries: _BACKOFF)
OUTCOMES: Final = {
    "returned": ACK,
    "any other exception": Outcome(Disposition.RETRY, delay=_BACKOFF),
    "`Retry(after=60)`": Outcome(Disposition.RETRY, delay=60.0, asked=True),
    "dead-lettered": Outcome(Disposition.DEAD_LETTER),
}
PLACES: Final = {
    "SQS, local": Abilities(),
    "Service Bus queue": Abilities("copy"),
    "with `delayed_retries`": Abilities("copy", every_delay=True),
    "sessions, subscriptions": Abilities("none"),
}
_ACTIONS: Final = {
    Action.ACKNOWLEDGE: "acknowledged",
    Action.GIVE_BACK: "given back",
    Action.COPY: "a copy is sent, due",
    Action.DEAD_LETTER: "dead-lettered",
}


def page(current: str) -> str:
    """Put the tables between the page's markers."""
    source = read()
    hosts = (_host(key, title, source["row"]) for key, title in source["hosts"].items())
    current = generated.between_markers(current, "guarantees", "\n\n".join(hosts))
    return generated.between_markers(current, "settlement", settlement())


def settlement() -> str:
    """Ask the plan what it does with each outcome on each kind of place, and tell it in a table."""
    rows = [
        (name, *(_planned(outcome, can) for can in PLACES.values()))
        for name, outcome in OUTCOMES.items()
    ]
    rows += [
        (f"{name}, and that fails", *(_after(outcome, can) for can in PLACES.values()))
        for name, outcome in OUTCOMES.items()
    ]
    return generated.table(("outcome", *PLACES), *rows)


def _step(outcome: Outcome, can: Abilities) -> Step:
    (step,) = plan([Message.of("")], [outcome], can, RULES)
    return step


def _planned(outcome: Outcome, can: Abilities) -> str:
    step = _step(outcome, can)
    return f"{_ACTIONS[step.action]}{_when(step.delay, can)}"


def _after(outcome: Outcome, can: Abilities) -> str:
    step = _step(outcome, can)
    failure = SettleFailure(step.message, TransportError("why"))
    return f"comes back{_when(after(step, failure, can, RULES).delay, can)}"


def _when(delay: float | None, can: Abilities) -> str:
    if delay == _BACKOFF:
        return " after the backoff"
    if delay:
        return f" after {delay:g} s"
    return ""


def read() -> dict[str, Any]:
    """Read the table."""
    return tomllib.loads(SOURCE.read_text())


def named_tests() -> list[str]:
    """Give every test that a cell names."""
    source = read()
    return [
        test
        for row in source["row"]
        for host in source["hosts"]
        if host in row
        for test in row[host]["tests"]
    ]


def _host(key: str, title: str, rows: list[dict[str, Any]]) -> str:
    rows = [row for row in rows if key in row]
    cells = [(row["name"], row[key]["text"]) for row in rows]
    lines = [f"### {title}", "", generated.table(("what", "what becomes of it"), *cells)]
    lines += ["", '??? note "The tests that show it"', ""]
    for row in rows:
        tests = ", ".join(f"`{_short(test)}`" for test in row[key]["tests"])
        lines.append(f"    - {row['name']}: {tests}")
    return "\n".join(lines)


def _short(test: str) -> str:
    return test.removeprefix("tests/")


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
