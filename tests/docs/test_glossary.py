"""One word for one figure: those of the commands, /stats and the metrics are in the glossary."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from queue_runtime.cli import fates, main, stats
from queue_runtime.hosts.poller.counts import PollStats
from queue_runtime.observability import metrics
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.transports.base import Depth
from tests.docs.examples import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
FIGURES = GLOSSARY.split("\n## Figures\n")[1].split("\n## ")[0]
FATES = GLOSSARY.split("\n## Fates\n")[1].split("\n## ")[0]
WORDS = re.findall(r"^\| `(\w+)` \|", FIGURES, re.MULTILINE)


def test_the_figures_of_a_queue_are_those_of_the_glossary() -> None:
    assert sorted(Depth(0, 0, 0).as_dict()) == sorted(WORDS)


def test_the_command_prints_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["send", "--queue", "local://q", "body"])
    capsys.readouterr()
    assert main(["stats", "local://q"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)) == sorted(["queue", *WORDS])
    headings = {column.replace(" ", "_").replace("-", "_") for column in stats.COLUMNS}
    assert headings - {"queue", "", "oldest"} <= set(WORDS)


def test_the_metrics_states_are_among_them() -> None:
    states = next(
        each.help.partition(": ")[2].split(", ")
        for each in vars(metrics).values()
        if getattr(each, "name", "") == "queue_depth"
    )
    assert set(states) <= set(WORDS)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (ACK, "completed"),
        (Outcome(Disposition.ACK), "discarded"),
        (Outcome(Disposition.RETRY), "retried"),
        (Outcome(Disposition.RETRY, unrun=True), "returned unrun"),
        (Outcome(Disposition.DEAD_LETTER), "dead-lettered"),
    ],
)
def test_a_fate_is_one_of_the_glossary_and_counted_by_its_word(outcome: Outcome, word: str) -> None:
    assert fates.fate(outcome) == word
    counts = PollStats()
    counts.count(outcome)
    (counted,) = [name for name, number in counts.as_dict().items() if number]
    row = rf"^\| {word} \| `{outcome.disposition}`.* `{counted}` \|"
    assert re.search(row, FATES, re.MULTILINE)


def test_every_count_of_a_poller_is_explained() -> None:
    assert all(f"`{name}`" in FATES for name in PollStats().as_dict())
