"""The suite fails a transport that breaks the contract: each test has one with one fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.settlement.lineage import NOTHING_CARRIED
from queue_runtime.transports.base import Depth, SendResult
from queue_runtime.transports.local import queue as local_queue
from queue_runtime.transports.local.transport import LocalTransport
from queue_runtime.transports.local.wire import LocalWire
from tests.conformance.test_local import LocalConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from queue_runtime.transports.base import OutgoingMessage


class Suite(LocalConformance):
    """The suite on local queues in files, each test run by hand."""

    __test__ = False


def forget_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_queue, "_fullest", lambda facts: list(facts)[-1])


def count_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def depth(_self: LocalTransport) -> Depth:
        return Depth(0, 0, 0)

    monkeypatch.setattr(LocalTransport, "depth", depth)


def lie_about_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalTransport, "system", "redis")


def forget_the_carried_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalWire, "_carried", lambda _self, _raw: NOTHING_CARRIED)


def answer_sends_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, lambda results: list(reversed(results)))


def answer_failed_sends_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, lambda results: [each for each in results if each.error is not None])


def keep_the_ids_of_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, lambda results: [each._replace(broker_id=None) for each in results])


def _answer(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Sequence[SendResult]], Sequence[SendResult]],
) -> None:
    send = LocalTransport.send

    async def changed(
        self: LocalTransport, messages: Sequence[OutgoingMessage]
    ) -> Sequence[SendResult]:
        return change(await send(self, messages))

    monkeypatch.setattr(LocalTransport, "send", changed)


MUTANTS = [
    (forget_the_reason, "test_dead_letter_is_moved_with_its_reason"),
    (count_after_the_end, "test_closed_transport_refuses_calls"),
    (lie_about_the_system, "test_transport_says_which_system_it_is"),
    (forget_the_carried_id, "test_copy_keeps_identity_and_attempts"),
    (answer_sends_in_another_order, "test_send_gives_the_id_of_each_message_in_their_order"),
    (answer_failed_sends_only, "test_entry_that_cannot_be_sent_is_told_by_its_position"),
    (keep_the_ids_of_sends, "test_send_gives_the_id_of_each_message_in_their_order"),
]


@pytest.mark.parametrize(("mutate", "test"), MUTANTS)
def test_a_faulty_transport_fails(
    mutate: Callable[[pytest.MonkeyPatch], None],
    test: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _run(test, tmp_path / "whole")
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        _run(test, tmp_path / "faulty")


def _run(test: str, folder: Path) -> None:
    folder.mkdir()
    suite: Any = Suite()
    suite.begin(folder)
    scenario = getattr(Suite, test).scenario
    asyncio.run(suite._run(scenario))
