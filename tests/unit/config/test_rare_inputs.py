"""Inputs that few people have, each told or passed over as the rest of the page says."""

from __future__ import annotations

import pytest

from queue_runtime.config import load_settings
from queue_runtime.config.file import Contents, _names_us
from queue_runtime.config.lines import toml_lines
from queue_runtime.config.references import Found, Referenced, SecretProblem, open_reference
from queue_runtime.errors import SettingsError


def test_a_key_without_a_line_has_that_of_its_table() -> None:
    contents = Contents("queue-runtime.toml", {}, {("queue",): 3})
    assert contents.line("queue", "orders", "concurrency") == 3
    assert contents.line("concurrency") == 0


def test_a_file_that_cannot_be_opened_does_not_name_us() -> None:
    assert not _names_us("/nowhere/config.toml")


def test_a_text_of_several_lines_is_passed_over() -> None:
    text = 'name = """\nconcurrency = 1\n"""\nconcurrency = 2\n'
    assert toml_lines(text)[("concurrency",)] == 4


def test_an_empty_variable_of_a_queue_says_nothing() -> None:
    environ = {"QUEUE_NAME": "orders", "QUEUE__ORDERS__CONCURRENCY": " "}
    assert load_settings(environ=environ).concurrency == 10


def test_a_secret_that_cannot_be_read_again_stays_where_nobody_is_told() -> None:
    answers = [Found("first")]

    def read() -> Found:
        if not answers:
            raise SecretProblem("gone")
        return answers.pop()

    secret = Referenced("test://secret", read, lambda: 0.0)
    secret.refresh(0.0)
    assert (secret.reveal(), secret.version) == ("first", 1)


def test_one_reference_is_one_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED_KEY", "secret")
    first = open_reference("env://SHARED_KEY")
    assert open_reference("env://SHARED_KEY") is first


def test_a_number_that_python_cannot_write_is_refused_without_it() -> None:
    with pytest.raises(SettingsError, match="a number of thousands of digits cannot be conc"):
        load_settings(environ={}, arguments={"concurrency": 10**5000})
