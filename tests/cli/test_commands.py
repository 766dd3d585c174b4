"""What the commands do and print, in this process."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.cli import main
from queue_runtime.config import load_settings
from queue_runtime.transports import queue_url
from tests.cli.shell import HANDLERS, events, stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = Path(__file__).resolve().parents[2] / "functions" / "events"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("handlers", None)


def pipe_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_what_is_sent_is_polled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--queue", "local://q", '{"n": 1}']) == 0
    assert json.loads(capsys.readouterr().out) == {"queue": "local://q", "sent": 1, "failed": 0}
    assert main(["poll", "handlers:take", "--queue", "local://q", "--until-empty"]) == 0
    assert stopped(capsys.readouterr().out)["completed"] == 1


def test_send_takes_a_file_lines_and_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.json").write_text('{"n":\n 1}')
    (tmp_path / "many.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n')
    assert main(["send", "--queue", "local://q", "--file", "one.json"]) == 0
    assert main(["send", "--queue", "local://q", "--lines", "many.jsonl"]) == 0
    pipe_in(monkeypatch, '{"n": 3}\n{"n": 4}\n')
    assert main(["send", "--queue", "local://q", "--lines", "-"]) == 0
    pipe_in(monkeypatch, '{"n": 5}\n')
    assert main(["send", "--queue", "local://q"]) == 0
    capsys.readouterr()
    main(["poll", "handlers:take", "--queue", "local://q", "--until-empty"])
    assert stopped(capsys.readouterr().out)["completed"] == 6


def test_send_sets_group_delay_and_attributes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["send", "--queue", "local://q.fifo", "--group-id", "g", "--attribute", "a=b=c", "x"])
    main(["send", "--queue", "local://q.fifo", "--group-id", "g", "--delay", "0.01", "y"])
    capsys.readouterr()
    main(["poll", "handlers:take_text", "--queue", "local://q.fifo", "--until-empty", "--each"])
    seen = [e for e in events(capsys.readouterr().out) if e["event"] == "message"]
    assert [event["group_id"] for event in seen] == ["g", "g"]


def test_an_entry_that_is_refused_is_named_and_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--queue", "local://q.fifo", "no group"]) == 1
    shown = capsys.readouterr()
    assert '"failed":1' in shown.out
    assert "message 1" in shown.err
    assert "no group" not in shown.err


def test_each_prints_a_line_a_message_and_the_end_sums_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["send", "--queue", "local://q", '{"bad": true}'])
    capsys.readouterr()
    main(["poll", "handlers:take", "--queue", "local://q", "--until-empty", "--each", "--json"])
    seen = events(capsys.readouterr().out)
    (message,) = [event for event in seen if event["event"] == "message"]
    assert (message["disposition"], message["reason"]) == ("dead-letter", "bad")
    (fate,) = [event for event in seen if event["event"] == "fate"]
    assert (fate["fate"], fate["messages"]) == ("dead-lettered", 1)


def test_a_producers_text_is_escaped_and_cut_in_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = json.loads((EVENTS / "poison.json").read_text())
    identity = json.dumps({"id": "\ud800\x1b[31m\n" + "x" * 250_000})
    record = event["Records"][0]
    record["messageAttributes"] = {"queue_runtime": {"stringValue": identity, "dataType": "String"}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    main(["invoke", "functions.orders:take_order", str(tmp_path / "event.json"), "--table"])
    table = capsys.readouterr().out
    assert "\\ud800\\x1b[31m\\nxxx" in table
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) < 3_000


def test_a_table_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["send", "--queue", "local://q", '{"n": 1}'])
    capsys.readouterr()
    main(["poll", "handlers:take", "--queue", "local://q", "--until-empty", "--table"])
    assert "completed  1" in capsys.readouterr().out


def test_several_targets_in_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    main(["send", "--queue", "local://a", '{"n": 1}'])
    main(["send", "--queue", "local://b", "text"])
    capsys.readouterr()
    arguments = ["--queue", "local://a", "--queue", "local://b", "--until-empty"]
    assert main(["poll", "handlers:take", "handlers:take_text", *arguments]) == 0
    ends = [e for e in events(capsys.readouterr().out) if e["event"] == "stopped"]
    assert [(end["target"], end["completed"]) for end in ends] == [
        ("handlers:take", 1),
        ("handlers:take_text", 1),
    ]


def test_once_ends_after_one_receive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["poll", "handlers:take", "--queue", "local://q", "--once"]) == 0
    assert stopped(capsys.readouterr().out)["received"] == 0


def test_the_queue_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUEUE_NAME", "q")
    monkeypatch.setenv("QUEUE_PROVIDER", "local")
    assert main(["poll", "handlers:take", "--once"]) == 0
    assert stopped(capsys.readouterr().out)["queue"] == "local://q"
    assert main(["send", "--queue", "q", "{}"]) == 0
    assert main(["stats", "q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["visible"] == 1


@pytest.mark.parametrize(
    ("provider", "name", "url"),
    [
        ("local", "orders", "local://orders"),
        ("aws", "orders.fifo", "sqs://orders.fifo"),
        ("azure", "orders", "servicebus:///orders"),
        ("azure", "news/all", "servicebus:///news/all"),
        ("azure", "carts?sessions=true", "servicebus:///carts?sessions=true"),
        ("aws", "local://orders", "local://orders"),
    ],
)
def test_a_bare_name_is_a_queue_of_the_provider(provider: str, name: str, url: str) -> None:
    settings = load_settings(environ={"QUEUE_PROVIDER": provider})
    assert queue_url(name, settings) == url


def test_invoke_shows_fates_and_the_reply(capsys: pytest.CaptureFixture[str]) -> None:
    event = str(EVENTS / "standard.json")
    given = ["functions.orders:take_order", event, "--dead-letter", "d", "--table"]
    assert main(["invoke", *given]) == 0
    table = capsys.readouterr().out
    assert "2 completed, 2 retried, 3 dead-lettered" in table
    event = str(EVENTS / "poison.json")
    main(["invoke", "functions.orders:take_order", event, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["messages"]) == 5
    assert len(shown["reply"]["batchItemFailures"]) == 4


def test_invoke_on_azure(capsys: pytest.CaptureFixture[str]) -> None:
    messages = str(EVENTS / "azure" / "messages.json")
    assert main(["invoke", "--azure", "functions.orders:take_order", messages, "--table"]) == 0
    assert "1 completed, 1 retried, 4 dead-lettered" in capsys.readouterr().out


WRONG: list[tuple[list[str], str]] = [
    (["poll", "handlers", "--queue", "local://q"], "no target"),
    (["poll", "nowhere:take", "--queue", "local://q"], "no module 'nowhere'"),
    (["poll", "handlers:nothing", "--queue", "local://q"], "has no 'nothing': it has take"),
    (["poll", "handlers:plain", "--queue", "local://q"], "put @queue_handler on the function"),
    (["poll", "broken:take", "--queue", "local://q"], "broken raised ZeroDivisionError"),
    (["poll", "empty:take", "--queue", "local://q"], "no handler at all"),
    (["poll", "handlers:take"], "has no queue"),
    (["poll", "handlers:take", "--queue", "orders"], "does not say where it is"),
    (["poll", "handlers:take", "--queue", "ftp://q"], "no queue URL"),
    (["poll", "handlers:take", "handlers:take", "--queue", "local://q"], "2 targets and 1 --queue"),
    (["poll", "handlers:take", "--queue", "local://q", "--concurrency", "many"], "--concurrency"),
    (["poll", "handlers:take", "--queue", "local://q", "--config", "no.toml"], "no.toml"),
    (["send", "--queue", "local://q", "--file", "no.json"], "no.json cannot be read"),
    (["send", "--queue", "local://q", "--attribute", "x", "body"], "write NAME=VALUE"),
    (["send", "--queue", "local://q", "--file", "a", "body"], "not two of them"),
    (["invoke", "handlers:take", "no.json"], "no.json cannot be read"),
    (["invoke", "handlers:take", "handlers.py"], "is not JSON"),
    (["invoke", "handlers:take", "list.json"], "not an SQS event object"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=lambda value: str(value)[:50])
def test_a_mistake_is_a_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "list.json").write_text("[]")
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
    assert shown.startswith(f"queue-runtime {arguments[0]}: ")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: path.write_text("no database"), "orders.sqlite3"),
        (lambda path: path.mkdir(), "orders.sqlite3"),
    ],
)
def test_a_file_that_is_no_queue_is_a_sentence(
    prepare: Any, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".queue-runtime"
    folder.mkdir()
    prepare(folder / "orders.sqlite3")
    for command in (["poll", "handlers:take", "--once"], ["send", "body"]):
        assert main([*command, "--queue", "local://orders"]) in {1, 2}
        shown = capsys.readouterr().err
        assert sentence in shown
        assert "Traceback" not in shown


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert {"check", "completion", "invoke", "poll", "send", "stats"} <= set(
        capsys.readouterr().out.split()
    )


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("queue_runtime.cli.send.run", interrupted)
    assert main(["send", "--queue", "local://q", "x"]) == 130
