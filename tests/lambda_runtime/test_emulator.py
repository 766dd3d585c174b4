"""What the emulator does with plain functions, which everything else here builds on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.lambda_runtime.emulator import (
    ROOT,
    EmulatorMissingError,
    LambdaEmulator,
    find_emulator,
)

HANDLERS = Path(__file__).parent / "handlers"

pytestmark = pytest.mark.emulator


def test_answers_with_what_the_function_returns() -> None:
    with LambdaEmulator(HANDLERS, "plain.answer", env={"STAGE": "test"}, memory=256) as function:
        reply = function.invoke({"n": 1})
    assert (reply.status, reply.failed) == (200, False)
    assert reply.payload["event"] == {"n": 1}
    assert reply.payload["memory"] == "256"
    assert reply.payload["stage"] == "test"
    assert 0 < reply.payload["left"] <= 10_000
    assert "answering" in reply.logs


def test_the_function_sees_nothing_of_the_environment_that_tests_run_in() -> None:
    with LambdaEmulator(HANDLERS, "plain.answer") as function:
        path = function.invoke({}).payload["path"]
    assert str(HANDLERS) in path
    own = [entry for entry in sys.path if "site-packages" in entry]
    assert own
    assert not {*own, str(ROOT)} & set(path)


def test_an_exception_is_a_function_error_and_the_runtime_goes_on() -> None:
    with LambdaEmulator(HANDLERS, "plain.act") as function:
        failed = function.invoke({"raise": "refused"})
        answered = function.invoke({"return": "well"})
    assert (failed.status, failed.failed, failed.error_type) == (200, True, "ValueError")
    assert failed.payload["errorMessage"] == "refused"
    assert (answered.failed, answered.payload) == (False, "well")


def test_a_function_that_takes_too_long_is_ended_and_the_next_invocation_starts_anew() -> None:
    with LambdaEmulator(HANDLERS, "plain.act", timeout=1) as function:
        ended = function.invoke({"seconds": 30})
        answered = function.invoke({"return": "well"})
    assert ended.timed_out
    assert ended.failed
    assert answered.payload == "well"


def test_a_runtime_that_ends_is_a_function_error() -> None:
    with LambdaEmulator(HANDLERS, "plain.act") as function:
        ended = function.invoke({"exit": 3})
        answered = function.invoke({"return": "well"})
    assert (ended.status, ended.failed) == (502, True)
    assert answered.payload == "well"


def test_a_missing_module_is_an_init_error() -> None:
    with LambdaEmulator(HANDLERS, "nowhere.handler") as function:
        reply = function.invoke({})
    assert (reply.status, reply.error_type) == (502, "Runtime.ImportModuleError")


def test_nothing_is_left_running_at_the_end() -> None:
    with LambdaEmulator(HANDLERS, "plain.answer") as function:
        function.invoke({})
        process = function._process
        assert process is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_missing_emulator_fails_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QUEUE_RUNTIME_RIE", str(tmp_path / "nothing"))
    with pytest.raises(EmulatorMissingError, match="make setup"):
        LambdaEmulator(HANDLERS, "plain.answer")


def test_the_emulator_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = find_emulator()
    monkeypatch.setenv("QUEUE_RUNTIME_RIE", str(binary))
    assert find_emulator() == binary
