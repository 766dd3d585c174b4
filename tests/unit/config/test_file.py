from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from queue_runtime.config import file as files
from queue_runtime.config import load_settings
from queue_runtime.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def _wrong(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(file=path, environ={})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("queue-runtime.toml", 'queue = "orders"\nmax_deliveries = 5\nreserve_seconds = 1\n'),
        ("queue-runtime.toml", '[queue-runtime]\nqueue = "orders"\nmax_deliveries = 5\n'),
        ("queue-runtime.yaml", "queue: orders\nmax_deliveries: 5\n"),
        ("queue-runtime.yml", "queue-runtime:\n  queue: orders\n  max_deliveries: 5\n"),
    ],
)
def test_a_file_in_the_working_directory_is_read(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    settings = load_settings(environ={})
    assert (settings.queue, settings.max_deliveries) == ("orders", 5)
    origin = settings.origin("max_deliveries")
    assert (origin.layer, origin.key, origin.path) == ("file", "max_deliveries", name)
    line = 1 + text[: text.index("max_deliveries")].count("\n")
    assert (origin.line, str(origin)) == (line, f"file {name}:{line}, key max_deliveries")


@pytest.mark.parametrize("name", ["config.toml", "config.yaml", "config.yml", "pyproject.toml"])
@pytest.mark.parametrize("text", ['queue = "theirs"\n', "queue-runtime is named: [here", "{}"])
def test_files_of_other_programs_are_left_alone(folder: Path, name: str, text: str) -> None:
    if "named" in text and name != "pyproject.toml":
        text = "# queue-runtime reads another file\n"
    (folder / name).write_text(text)
    settings = load_settings(environ={})
    assert (settings.queue, settings.warnings) == (None, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.toml", '[web]\nport = 1\n[queue-runtime]\nqueue = "ours"\n'),
        ("config.yaml", "web: {port: 1}\nqueue-runtime:\n  queue: ours\n"),
        ("config.yml", "web: {port: 1}\n\nqueue-runtime: {queue: ours}\n"),
    ],
)
def test_a_shared_file_is_read_where_it_has_our_table(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    settings = load_settings(environ={})
    line = 1 + text[: text.index("queue: ") if "queue: " in text else text.index("queue =")].count(
        "\n"
    )
    assert (settings.queue, settings.warnings) == ("ours", [])
    assert str(settings.origin("queue")) == f"file {name}:{line}, key queue"


def test_a_broken_shared_file_that_names_us_is_an_error(folder: Path) -> None:
    (folder / "config.toml").write_text("[queue-runtime\n")
    with pytest.raises(SettingsError, match=r"file config\.toml: is not TOML"):
        load_settings(environ={})


def test_the_first_file_wins_and_the_hidden_one_is_warned_of(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text('queue = "toml"\n')
    (folder / "queue-runtime.yml").write_text("queue: yml\n")
    settings = load_settings(environ={})
    assert settings.queue == "toml"
    assert settings.warnings == [
        "file queue-runtime.yml: is not read, because queue-runtime.toml is there; remove one"
    ]


def test_an_explicit_path_goes_before_the_variable_and_that_before_the_search(
    folder: Path,
) -> None:
    for name in ("queue-runtime", "variable", "explicit"):
        (folder / f"{name}.toml").write_text(f'queue = "{name}"\n')
    environ = {"QUEUE_RUNTIME_CONFIG": "variable.toml"}
    assert load_settings(file="explicit.toml", environ=environ).queue == "explicit"
    assert load_settings(file=folder / "explicit.toml", environ=environ).queue == "explicit"
    by_variable = load_settings(environ=environ)
    assert by_variable.queue == "variable"
    assert by_variable.warnings == []
    assert load_settings(environ={"QUEUE_RUNTIME_CONFIG": " "}).queue == "queue-runtime"


def test_a_file_that_was_asked_for_has_to_be_there(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text('queue = "orders"\n')
    assert "option --config, or argument file: there is no file gone.toml; correct" in _wrong(
        folder.__class__("gone.toml")
    )
    with pytest.raises(SettingsError, match="variable QUEUE_RUNTIME_CONFIG: there is no file gone"):
        load_settings(environ={"QUEUE_RUNTIME_CONFIG": "gone.toml"})


def test_a_file_that_goes_away_meanwhile_is_a_problem_of_the_file(folder: Path) -> None:
    with pytest.raises(files.FileProblem, match="cannot be read: No such file"):
        files.read(str(folder / "gone.toml"))


@pytest.mark.parametrize("text", ["", "# nothing said\n"])
@pytest.mark.parametrize("name", ["a.toml", "a.yaml"])
def test_a_file_without_settings_is_fine(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    settings = load_settings(file=folder / name, environ={})
    assert {row.source for row in settings.explain()} == {"default"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.ini", b"queue=orders", "is neither TOML nor YAML by its name; end it in"),
        ("a.toml", b"queue = \xff", "cannot be read: it is not UTF-8"),
        ("a.toml", b"queue = orders", "is not TOML: Invalid value (at line 1"),
        ("a.yaml", b"queue: [orders", "is not YAML at line 1, column 15; correct it"),
        ("a.yaml", b"queue: \x01", "is not YAML; correct it"),
        ("a.yaml", b"- queue", "holds no settings; write one a line"),
        ("a.yaml", b"queue: 2024-99-99", "is not YAML; correct it"),
        ("a.toml", b"queue-runtime = 1", "write [queue-runtime] above the settings"),
        (
            "a.toml",
            b"queue = 'q'\nconcurrency = 1\n[queue-runtime]\nprocesses = 1",
            "queue, concurrency beside the table [queue-runtime]; move into it, or remove",
        ),
    ],
)
def test_a_file_that_is_no_settings_file_is_named_with_the_fix(
    folder: Path, name: str, text: bytes, expected: str
) -> None:
    (folder / name).write_bytes(text)
    message = _wrong(folder / name)
    assert f"file {folder / name}: " in message
    assert expected in message


def test_a_broken_file_is_reported_together_with_the_other_layers(folder: Path) -> None:
    (folder / "queue-runtime.toml").write_text("=")
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"QUEUE_CONCURRENCY": "no"})
    lines = str(caught.value).splitlines()
    assert lines[0] == "settings: 2 are wrong"
    assert "file queue-runtime.toml" in lines[1]
    assert "QUEUE_CONCURRENCY" in lines[2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "connection_string: Endpoint=sb://n/;SharedAccessKey=hunter2: [x"),
        ("a.toml", 'connection_string = "SharedAccessKey=hunter2'),
        ("a.toml", 'connection_string = ["SharedAccessKey=hunter2"]'),
        ("a.toml", '"SharedAccessKey=hunter2" = 1'),
        ("a.toml", '[queue-runtime]\n["SharedAccessKey=hunter2"]'),
        ("a.toml", 'queue = ""\nprovider = "SharedAccessKey=hunter2"'),
        ("a.toml", 'connection_string = "hunter2"'),
    ],
)
def test_no_mistake_in_a_file_shows_a_secret(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert "hunter2" not in _wrong(folder / name)


def test_keys_and_types_of_a_file_are_checked(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "max_deliverys: 3\nqueue:\nconcurrency: '4'\nprovider: {a: 1}\n1: 2\nerror_text: no\n"
    )
    message = _wrong(folder / "a.yaml")
    source = f"file {folder / 'a.yaml'}"
    assert message.splitlines() == [
        "settings: 5 are wrong",
        f"  {source}:1, key max_deliverys: is no setting; did you mean max_deliveries?",
        f"  {source}:2, key queue: nothing cannot be queue; write a text that is not empty",
        f"  {source}:3, key concurrency: '4' cannot be concurrency; write a whole number of 1 or "
        "more, at most 10000",
        f"  {source}:4, key provider: a dict cannot be provider; write azure, aws or local",
        f"  {source}:5, key 1: is no setting; remove it",
    ]


def test_yaml_without_its_parser_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (folder / "queue-runtime.yaml").write_text("queue: orders\n")
    with pytest.raises(
        MissingExtraError, match=r"queue-runtime\.yaml needs .*queue-runtime\[yaml\]"
    ):
        load_settings(environ={})
