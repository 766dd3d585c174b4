"""What pages show runs as a reader pastes it: code into a file, commands into a shell."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.docs.examples import ROOT
from tests.docs.pages import PAGES, code_blocks, commands, name

if TYPE_CHECKING:
    from pathlib import Path

WITH_CODE: Final = [page for page in PAGES if code_blocks(page, "python")]
# These show tools of this repository's own tests.
OF_THE_CHECKOUT: Final = ("docs/testing/service-bus-broker.md", "docs/testing/sqs-broker.md")
NO_TESTS_COLLECTED: Final = 5

# Commands that no test runs word for word, and why.
NOT_RUN_HERE: Final = {
    "make demo": "tests/household runs its script",
    "make test": "it would run this test",
    "sam build": "tests/infra builds",
    "sam local invoke -e functions/events/standard.json --env-vars functions/env.local.json": (
        "it needs a container runtime"
    ),
    ".venv/bin/moto_server -H 0.0.0.0 -p 5000": "it listens to other machines",
    "export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:5000 AWS_DEFAULT_REGION=us-east-1": "for aws",
    "export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local": "for aws",
    "aws sqs create-queue --queue-name orders-dlq": "the AWS CLI is no package of ours",
    "aws sqs create-queue --queue-name orders-dlq.fifo --attributes FifoQueue=true": "likewise",
}
SHOWN: Final = [(name(page), command) for page in PAGES for command in commands(page)]
RUN: Final = [pair for pair in SHOWN if pair[1] not in NOT_RUN_HERE]


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_code_runs_when_it_is_pasted_block_after_block(page: Path, tmp_path: Path) -> None:
    blocks = code_blocks(page, "python")
    ours = name(page) in OF_THE_CHECKOUT
    assert ours or not any("from tests" in each or "from functions" in each for each in blocks)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "queue_runtime").symlink_to(ROOT / "queue_runtime")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT if ours else tmp_path / "lib"),
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0",
            "DD_REMOTE_CONFIGURATION_ENABLED": "0",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    has_tests = any("def test_" in each for each in blocks)
    assert done.returncode == (0 if has_tests else NO_TESTS_COLLECTED), done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader of the checkout has around them, and what the pages tell them to write."""
    (tmp_path / "functions").symlink_to(ROOT / "functions")
    (tmp_path / "orders.jsonl").write_text('{"id": "order-2", "amount": 3}\n')
    (tmp_path / "greetings.py").write_text(
        code_blocks(ROOT / "docs" / "quickstart.md", "python")[0]
    )
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "queue-runtime"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m queue_runtime.cli "$@"\n')
    program.chmod(0o755)
    for queue, body in (("orders", '{"id": "o-0", "amount": 1}'), ("greetings", '{"name": "Bo"}')):
        _run(tmp_path, f"queue-runtime send --queue local://{queue} '{body}'")
    return tmp_path


@pytest.mark.parametrize(("page", "command"), RUN, ids=lambda value: value[:60])
def test_a_command_runs_word_for_word(page: str, command: str, folder: Path) -> None:
    first, *words = shlex.split(command)
    assert first == "queue-runtime", f"{page}: run it here, or say why not"
    if words[0] == "poll" and "--until-empty" not in words:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], stdout=subprocess.PIPE, text=True,
            cwd=folder, env=_environ(folder),
        )  # fmt: skip
        assert process.stdout is not None
        assert '"event":"started"' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
        return
    done = _run(folder, command)
    assert done.returncode == 0, done.stderr


def test_what_is_not_run_is_still_shown() -> None:
    assert set(NOT_RUN_HERE) <= {command for _, command in SHOWN}


def _environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def _run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_environ(folder),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
