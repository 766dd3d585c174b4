"""What every command does alike: help, numbers, stdout, targets, errors of the developer's own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import queue_runtime
from queue_runtime.cli import _COMMANDS, main
from queue_runtime.cli.reload import difference, snapshot
from queue_runtime.testing import sqs_event
from tests.cli.shell import line_of, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.shell import Shell

APP = """
import functools, subprocess, sys
from queue_runtime import queue_handler

print("imported")

def charge(order):
    raise RuntimeError("gateway answered 502, SharedAccessKey=c2VjcmV0")

@queue_handler(max_deliveries=1)
def fail(order: dict) -> None:
    try:
        charge(order)
    except RuntimeError as error:
        raise ValueError("order 17") from error

@queue_handler
def loud(order: dict) -> None:
    print("hello")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)

def outer(function):
    @functools.wraps(function)
    def call(event, context):
        return function(event, context)
    return call

@outer
@queue_handler
def wrapped(order: dict) -> None: ...
"""


@pytest.fixture
def app(shell: Shell) -> Shell:
    (shell.folder / "app.py").write_text(APP)
    (shell.folder / "event.json").write_text(json.dumps(sqs_event({"id": 1})))
    return shell


# --- help and names ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_help_has_examples_that_its_own_parser_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    _, _, rest = shown.partition("examples:\n")
    examples = [line for line in rest.splitlines() if "queue-runtime" in line]
    assert len(examples) >= 2
    assert all(f"queue-runtime {command}" in example for example in examples)
    assert command == "completion" or "environment variables:\n  QUEUE_" in shown


def test_the_version_is_the_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "queue_runtime.cli", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(f"queue-runtime {queue_runtime.__version__} (Python 3.")


def test_an_option_has_to_be_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["send", "--queu", "local://q", "body"])
    assert left.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize("shell_name", ["bash", "zsh"])
def test_a_shell_gets_a_script_that_it_can_read_and_that_knows_our_options(
    shell_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell_name]) == 0
    script = capsys.readouterr().out
    assert "--until-empty" in script
    assert "--app-dir" in script
    if shell_name == "bash":
        ask = script + "\nCOMP_WORDS=(queue-runtime po); COMP_CWORD=1\n"
        ask += '_shtab_queue_runtime; echo "${COMPREPLY[@]}"\n'
        done = subprocess.run(
            ["bash"], input=ask, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() == "poll"


def test_completion_without_its_extra_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'queue-runtime[cli]'" in capsys.readouterr().err


# --- numbers -------------------------------------------------------------------------------------

NUMBERS = [
    ["send", "--queue", "local://q", "x", "--delay"],
    ["stats", "local://q", "--every"],
    ["invoke", "app:fail", "event.json", "--seconds"],
    ["check", "app:fail", "--queue-retention"],
    ["check", "app:fail", "--dlq-retention"],
]


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "soon"])
@pytest.mark.parametrize("arguments", NUMBERS, ids=lambda arguments: arguments[-1])
def test_a_number_that_is_none_is_refused_before_anything_is_done(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*arguments, text])
    assert left.value.code == 2
    assert f"argument {arguments[-1]}: '{text}' is no number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    ["concurrency", "in-flight", "receive-seconds", "drain-seconds", "processes", "health-port"],
)
@pytest.mark.parametrize("text", ["nan", "-1"])
def test_a_number_of_the_poller_that_is_none_is_refused(option: str, text: str, app: Shell) -> None:
    done = app.run("poll", "app:fail", "--queue", "local://q", f"--{option}", text)
    assert done.returncode == 2
    assert f"option --{option}: '{text}' cannot be" in done.stderr


# --- stdout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["--json", "elsewhere"])
def test_stdout_is_json_lines_for_a_program_whatever_a_handler_prints(
    shown: str, app: Shell
) -> None:
    more = ["--json"] if shown == "--json" else []
    app.send(1)
    commands = (
        ["send", "--queue", "local://q", "{}"],
        ["stats", "local://q"],
        ["config", "app:loud"],
        ["check", "app:loud", "--queue", "local://q"],
        ["invoke", "app:loud", "event.json"],
        ["poll", "app:loud", "--queue", "local://q", "--until-empty"],
    )
    assert {command[0] for command in commands} == _COMMANDS.keys() - {"completion"}
    for command in commands:
        done = app.run(*command, *more)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in done.stdout.splitlines()]
        assert ("imported" in done.stderr) is any("app:" in word for word in command)
        if command[0] in {"invoke", "poll"}:
            assert "hello" in done.stderr
            assert "from a program" in done.stderr


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["send", "--queue", "local://q", "{}"], "1 message sent to local://q"),
        (["stats", "local://q"], "in flight"),
        (["check", "app:loud", "--queue", "local://q"], "nothing found"),
        (["invoke", "app:loud", "event.json"], "1 completed"),
        (["poll", "app:loud", "--queue", "local://q", "--until-empty"], "1 delivery in"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_person_at_a_terminal_gets_a_table(command: list[str], text: str, app: Shell) -> None:
    app.send(1)
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "queue_runtime.cli", *command],
        cwd=app.folder,
        env={**app.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    )
    os.close(terminal)
    assert '{"event' not in _until(screen, text)
    assert process.wait(timeout=60) == 0
    os.close(screen)


def test_one_message_is_one_message(app: Shell) -> None:
    done = app.run("send", "--queue", "local://q", "{}", "--table")
    assert done.stdout == "1 message sent to local://q\n"
    done = app.run("poll", "app:loud", "--queue", "local://q", "--until-empty", "--table")
    assert done.stdout.startswith("1 delivery in ")


# --- the queue -----------------------------------------------------------------------------------


def test_a_queue_is_named_by_position_by_option_or_by_the_environment(app: Shell) -> None:
    app.send(2)
    by = (["stats", "local://q"], ["stats", "--queue", "local://q"])
    seen = [json.loads(app.run(*each).stdout)["visible"] for each in by]
    app.environ |= {"QUEUE_NAME": "q", "QUEUE_PROVIDER": "local"}
    seen.append(json.loads(app.run("stats").stdout)["visible"])
    assert seen == [2, 2, 2]
    assert json.loads(app.run("send", "{}").stdout)["queue"] == "local://q"


@pytest.mark.parametrize("command", [["stats"], ["send", "{}"]])
def test_no_queue_at_all_is_a_sentence(command: list[str], app: Shell) -> None:
    done = app.run(*command)
    assert done.returncode == 2
    assert "no queue is named: give --queue URL, set QUEUE_NAME" in done.stderr


def test_looking_at_a_queue_does_not_make_it(app: Shell) -> None:
    app.send(1)
    done = app.run("stats", "local://qq", "local://q")
    assert done.returncode == 1
    missing, there = map(json.loads, done.stdout.splitlines())
    assert missing["error"].startswith("there is no local queue qq in ")
    assert there["visible"] == 1
    assert not (app.folder / "queues" / "qq.sqlite3").exists()


def test_a_sent_message_has_the_ids_that_were_given(app: Shell) -> None:
    (app.folder / "look.py").write_text(
        "from queue_runtime import Message, queue_handler\n"
        "@queue_handler\n"
        "def look(message: Message[bytes]) -> None:\n"
        "    print('correlation', message.correlation_id)\n"
    )
    given = ["--queue", "local://q", "--correlation-id", "c-1", "--deduplication-id", "d-1"]
    for _ in range(2):  # the second one is a repeat, and dropped
        assert app.run("send", "x", *given).returncode == 0
    assert app.run("send", "--lines", "-", *given, stdin="y\nz\n").returncode == 0
    done = app.run("poll", "look:look", "--queue", "local://q", "--until-empty")
    assert done.stderr.count("correlation c-1") == 2  # x and z: y had the id of x


# --- targets -------------------------------------------------------------------------------------


def test_a_handler_under_another_decorator_is_found_and_that_is_said(app: Shell) -> None:
    done = app.run("invoke", "app:wrapped", "event.json")
    assert done.returncode == 0
    assert "1 completed" in done.stdout
    assert "app:wrapped has another decorator over @queue_handler" in done.stderr


def test_modules_are_found_in_the_folder_that_is_named(app: Shell) -> None:
    (app.folder / "src").mkdir()
    (app.folder / "app.py").rename(app.folder / "src" / "shop.py")
    done = app.run("invoke", "shop:loud", "event.json")
    assert "it is in src: add --app-dir src" in done.stderr
    assert app.run("invoke", "shop:loud", "event.json", "--app-dir", "src").returncode == 0
    done = app.run("invoke", "shop:loud", "event.json", "--app-dir", "nowhere")
    assert (done.returncode, "there is no such folder" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("app.py", "write module:function, such as app:take_order"),
        ("event.json", "the target comes first"),
        ("shop/app.py:fail", "write module:function, such as shop.app:fail"),
        ("leaves:x", "leaves ends the program (at leaves.py:2)"),
        ("deeper:x", "deeper raised KeyError: 'DB_URL_NOT_SET' (at reads.py:2)"),
        ("lacks:x", "ModuleNotFoundError: No module named 'nosuch' (at lacks.py:1)"),
        ("typo:x", "(typo.py, line 1)"),
    ],
)
def test_a_target_that_cannot_be_imported_is_a_sentence_with_its_line(
    target: str, sentence: str, app: Shell
) -> None:
    (app.folder / "leaves.py").write_text("import sys\nsys.exit(7)\n")
    (app.folder / "deeper.py").write_text("import reads\n")
    (app.folder / "reads.py").write_text("import os\nos.environ['DB_URL_NOT_SET']\n")
    (app.folder / "lacks.py").write_text("import nosuch\n")
    (app.folder / "typo.py").write_text("def x(:\n")
    done = app.run("invoke", target, "event.json")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


# --- the developer's own errors ------------------------------------------------------------------


@pytest.mark.parametrize("by", ["option", "variable"])
@pytest.mark.parametrize("command", ["poll", "invoke"])
def test_asked_for_an_error_is_shown_whole_but_for_credentials(
    command: str, by: str, app: Shell
) -> None:
    app.send(1)
    if by == "variable":
        app.environ["QUEUE_TRACEBACKS"] = "1"
    more = ["--traceback"] if by == "option" else []
    place = {"poll": ["--queue", "local://q", "--once"], "invoke": ["event.json"]}[command]
    done = app.run(command, "app:fail", *place, *more)
    assert "gateway answered 502" in done.stderr
    assert "order 17" in done.stderr
    assert "direct cause of the following exception" in done.stderr
    assert "may be a message's body" in done.stderr
    assert "c2VjcmV0" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "has no effect" in line]
    assert not any("QUEUE_TRACEBACKS" in line for line in said)


@pytest.mark.parametrize("command", ["poll", "invoke"])
def test_unasked_an_error_is_shown_by_type_and_place_its_causes_too(
    command: str, app: Shell
) -> None:
    app.send(1)
    place = {"poll": ["--queue", "local://q", "--once"], "invoke": ["event.json"]}[command]
    done = app.run(command, "app:fail", *place)
    shown = done.stdout + done.stderr
    assert "app.py:15 in fail; because of RuntimeError at " in shown
    assert "app.py:8 in charge" in shown
    assert "502" not in shown
    assert "order 17" not in shown


def test_a_command_that_runs_no_handler_says_that_it_has_no_tracebacks(app: Shell) -> None:
    app.environ["QUEUE_TRACEBACKS"] = "1"
    done = app.run("send", "--queue", "local://q", "{}")
    assert done.returncode == 0
    assert "QUEUE_TRACEBACKS has no effect on send" in done.stderr


def test_a_failed_import_is_shown_whole_when_that_is_asked_for(app: Shell) -> None:
    (app.folder / "deeper.py").write_text("import os\nos.environ['DB_URL_NOT_SET']\n")
    done = app.run("poll", "deeper:x", "--queue", "local://q", "--traceback")
    assert done.returncode == 2
    assert 'deeper.py", line 2, in <module>' in done.stderr


# --- invoke --------------------------------------------------------------------------------------


def test_an_event_may_come_from_stdin(app: Shell) -> None:
    event = (app.folder / "event.json").read_text()
    done = app.run("invoke", "app:loud", "-", stdin=event)
    assert "1 completed" in done.stdout


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("[" * 200_000, [], "nested too deeply"),
        ('[{"body": "", "delivery_count": "x"}]', ["--azure"], "delivery_count is not a whole"),
        ('[{"body": "", "delivery_count": 0}]', ["--azure"], "delivery_count is not 1 or more"),
        ('[{"body": "", "application_properties": [1]}]', ["--azure"], "is not an object"),
        ('[{"body": "", "subject": 7}]', ["--azure"], "its subject is not a text"),
        ("{}", ["--sessions"], "--sessions goes with --azure"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_event_that_is_none_is_a_sentence(
    text: str, more: list[str], sentence: str, app: Shell
) -> None:
    done = app.run("invoke", "app:loud", "-", *more, stdin=text)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_half_of_a_surrogate_pair_in_an_azure_body_is_poison(app: Shell) -> None:
    done = app.run("invoke", "--azure", "app:loud", "-", stdin='[{"body": "\\ud800"}]')
    assert "1 dead-lettered" in done.stdout


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_an_interrupted_send_says_how_many_went(app: Shell) -> None:
    app.send(1)
    process = app.start("send", "--queue", "local://q", "--lines", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"n": 1}\n' * 2_500)
    process.stdin.flush()
    wait_until(lambda: _visible(app) > 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    went = _visible(app) - 1
    said = re.search(
        r"interrupted: ([\d,]+) messages had been sent(?:, and ([\d,]+) more may)?", told
    )
    assert said is not None, told
    sent, perhaps = (int((number or "0").replace(",", "")) for number in said.groups())
    assert sent <= went <= sent + perhaps


def _visible(app: Shell) -> int:
    return int(json.loads(app.run("stats", "local://q").stdout)["visible"])


def test_an_interrupted_poll_says_what_is_under_way(shell: Shell) -> None:
    shell.send(1)
    process = shell.start("poll", "handlers:stuck", "--queue", "local://q", "--drain-seconds", "0")
    line_of(process, "running")
    process.send_signal(signal.SIGINT)
    assert json.loads(line_of(process, '"stopping"'))["held"] == 1
    process.kill()
    process.communicate(timeout=30)


def test_at_a_terminal_an_interrupted_poll_says_so_in_words(shell: Shell) -> None:
    shell.send(1)
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "queue_runtime.cli", "poll", "handlers:stuck", "--queue",
         "local://q"],
        cwd=shell.folder,
        env={**shell.environ, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    seen = _until(screen, "running")
    process.send_signal(signal.SIGINT)
    seen += _until(screen, "at once")
    assert "stopping: 1 message under way, which have 25 s; again to end at once" in seen
    process.kill()
    process.wait(timeout=30)
    os.close(screen)


def _until(screen: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(screen, 65_536).decode(errors="replace")
    return seen


# --- reload --------------------------------------------------------------------------------------


def test_a_poller_begins_anew_when_its_code_changes(app: Shell) -> None:
    module = app.folder / "now.py"
    code = "from queue_runtime import queue_handler\n@queue_handler\ndef take(b: dict) -> None: "
    module.write_text(code + "print('first')\n")
    process = app.start("poll", "now:take", "--queue", "local://q", "--reload")
    app.send(1)
    line_of(process, "first")
    module.write_text("this is no Python\n")
    line_of(process, "now.py has changed")
    line_of(process, "waiting for a change")
    module.write_text(code + "print('second')\n")
    app.send(1)
    line_of(process, "second")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_changes_are_seen_by_file(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "library.py").write_text("")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text("1")
    before = snapshot(str(tmp_path))
    assert list(before) == ["shop/orders.py"]
    (tmp_path / "shop" / "orders.py").write_text("12")
    assert difference(before, snapshot(str(tmp_path))) == "shop/orders.py"
    assert difference(before, before) == ""
