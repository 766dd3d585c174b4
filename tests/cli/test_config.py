from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from queue_runtime.config.table import SETTINGS

if TYPE_CHECKING:
    from tests.cli.shell import Shell

SECRET = "Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=hunter2"


def test_every_setting_is_shown_with_its_value_and_source(shell: Shell) -> None:
    (shell.folder / "queue-runtime.toml").write_text("[queue.orders]\nconcurrency = 3\n")
    shell.environ |= {"AZURE_SERVICE_BUS_CONNECTION_STRING": SECRET, "QUEUE_CONCURRENCY": "4"}
    done = shell.run("config", "handlers:take", "--queue", "local://orders", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["queue"]["source"] == "option --queue"
    assert rows["concurrency"]["value"] == "3"
    assert (
        rows["concurrency"]["source"] == "file queue-runtime.toml:2, key queue.orders.concurrency"
    )
    assert rows["concurrency"]["shadows"][0]["source"] == "environment variable QUEUE_CONCURRENCY"
    assert rows["connection_string"]["value"] == "***"
    assert "local" in rows["connection_string"]["no_effect"]
    assert "hunter2" not in done.stdout + done.stderr


def test_a_setting_is_told_in_full_by_its_name_or_its_variable(shell: Shell) -> None:
    shell.environ["QUEUE_DLQ_NAME"] = "dead"
    for key in ("dead_letter", "QUEUE_DLQ_NAME"):
        done = shell.run("config", key, "--table")
        assert done.returncode == 0, done.stderr
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert lines[0] == "dead_letter = dead"
        assert "from environment variable QUEUE_DLQ_NAME" in lines
        assert "default none" in lines
        assert any(line.startswith("no effect servicebus: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("concurency",), "concurency is no setting; did you mean concurrency?"),
        (("zzzzzz",), "zzzzzz is no setting: see queue-runtime config for all"),
        (("handlers:take", "handlers:other"), "are two handlers: show one at a time"),
        (("--config", "gone.toml"), "there is no file gone.toml"),
    ],
)
def test_a_mistake_is_one_sentence(shell: Shell, arguments: tuple[str, ...], why: str) -> None:
    done = shell.run("config", *arguments, "--table")
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_wrong_is_told_all_at_once_as_at_a_start(shell: Shell) -> None:
    shell.environ |= {"QUEUE_CONCURRENCY": "x", "QUEUE_IN_FLIGHT": "y"}
    done = shell.run("config", "--table")
    assert done.returncode == 2
    assert "2 are wrong" in done.stderr
    assert not done.stdout


def test_the_schema_is_json_for_an_editor(shell: Shell) -> None:
    done = shell.run("config", "--schema")
    assert json.loads(done.stdout)["$schema"].startswith("https://json-schema.org/")


def test_warnings_and_what_has_no_effect_follow_the_table(shell: Shell) -> None:
    shell.environ |= {"QUEUE_CONCURENCY": "1", "QUEUE_DRAIN_SECONDS": "3"}
    done = shell.run("config", "--said", "--table")
    assert "drain_seconds has no effect on lambda: " in done.stdout
    assert "warning: environment variable QUEUE_CONCURENCY: is no setting" in done.stdout
    assert "max_deliveries" not in done.stdout


def test_one_queue_name_for_two_polled_handlers_is_refused(shell: Shell) -> None:
    (shell.folder / "two.py").write_text(
        "from queue_runtime import queue_handler\n"
        "@queue_handler(queue='orders')\ndef orders(body: dict) -> None: ...\n"
        "@queue_handler(queue='refunds')\ndef refunds(body: dict) -> None: ...\n"
    )
    shell.environ |= {"QUEUE_NAME": "orders", "QUEUE_PROVIDER": "local"}
    done = shell.run("poll", "two:orders", "two:refunds", "--once")
    assert done.returncode == 2
    assert (
        "two:refunds names refunds in its decorator, and environment variable QUEUE_NAME says "
        in (done.stderr)
    )
    shell.environ |= {"QUEUE_NAME": "", "QUEUE__REFUNDS__NAME": "money"}
    done = shell.run("poll", "two:orders", "two:refunds", "--once")
    assert done.returncode == 0, done.stderr
    assert "local://money" in done.stdout


def test_debug_tells_the_configuration_and_the_connection(shell: Shell) -> None:
    shell.environ |= {"AZURE_SERVICE_BUS_CONNECTION_STRING": SECRET, "QUEUE_CONCURRENCY": "4"}
    done = shell.run(
        "poll", "handlers:take", "--queue", "local://q", "--once", "--log-level", "debug"
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert "concurrency = 4 (environment variable QUEUE_CONCURRENCY)" in lines
    assert any(line.startswith("q is opened: local, ") for line in lines)
    assert "hunter2" not in done.stderr


def test_queue_explain_tells_the_settings_at_any_level(shell: Shell) -> None:
    shell.environ |= {"QUEUE_EXPLAIN": "1", "QUEUE_CONCURRENCY": "4"}
    done = shell.run("poll", "handlers:take", "--queue", "local://q", "--once")
    lines = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert "concurrency = 4 (environment variable QUEUE_CONCURRENCY)" in lines
    assert any(line.endswith("more settings have their defaults") for line in lines)


def _at_a_terminal(shell: Shell, *arguments: str, **environ: str) -> str:
    """Run a command at a terminal of 80 columns, and give what is on it."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shell.environ |= {"TERM": "xterm", **environ}
    process = shell.start(*arguments, stdout=side)
    os.close(side)
    shown = b""
    with suppress(OSError):  # as a terminal tells its end
        while part := os.read(main, 65_536):
            shown += part
    os.close(main)
    process.communicate()
    return shown.decode()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_at_a_terminal_of_80_columns_names_stay_whole(shell: Shell, no_color: str) -> None:
    environ = {"NO_COLOR": no_color, "QUEUE_IDEMPOTENCY_STORE": "redis://u:hunter2@h/" + "x" * 90}
    shown = _at_a_terminal(shell, "config", "handlers:take", **environ)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert all(len(line) <= 80 for line in plain.split("\r\n"))
    words = set(plain.split())
    assert set(SETTINGS) <= words
    assert "hunter2" not in shown
    if no_color:
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)
