"""The table of features is that of the flags which choose the conformance tests."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from queue_runtime.testing.conformance import Features
from scripts import features_page
from tests.conformance import test_local, test_service_bus, test_sqs

if TYPE_CHECKING:
    from queue_runtime.testing.conformance.rig import Rig

FLAGS = [field.name for field in fields(Features)]
NOTES = features_page.read_notes()
SUITES: dict[str, list[type[Rig]]] = {
    "local": [test_local.TestFile, test_local.TestMemory],
    "sqs": [test_sqs.TestBroker, test_sqs.TestMoto],
    "service_bus": [test_service_bus.TestQueue, test_service_bus.TestSessions],
}


def test_the_page_is_what_the_flags_say() -> None:
    current = features_page.PAGE.read_text()
    assert features_page.page(current) == current, "run `make generate`"


def test_every_flag_is_said_in_words() -> None:
    assert list(features_page.words()) == FLAGS


@pytest.mark.parametrize("transport", features_page.TRANSPORTS)
def test_the_table_has_the_flags_that_choose_the_tests(transport: str) -> None:
    chosen = {suite.features for suite in SUITES[transport]}
    assert chosen == set(features_page.TRANSPORTS[transport][1])


@pytest.mark.parametrize("transport", features_page.TRANSPORTS)
@pytest.mark.parametrize("flag", FLAGS)
def test_what_a_transport_lacks_has_a_note(flag: str, transport: str) -> None:
    said = transport in NOTES.get(flag, {})
    assert said or features_page.answer(flag, transport) == "yes"


def test_every_note_is_of_a_cell() -> None:
    assert NOTES.keys() <= set(FLAGS)
    assert all(notes.keys() <= features_page.TRANSPORTS.keys() for notes in NOTES.values())
