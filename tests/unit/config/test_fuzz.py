from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queue_runtime.config import load_settings
from queue_runtime.config.hot import DEFAULTS
from queue_runtime.config.load import _layered, _plain
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KEYS = st.sampled_from(
    [*DEFAULTS, "env", "queue.a", "queue-runtime", "x", '"a b"', "env.prod.queue.q"]
)
_VALUES = st.sampled_from(
    [
        *(
            "1",
            "-1",
            "1e400",
            "true",
            '"a"',
            '"""a\nb"""',
            "[1, 2]",
            "{a = 1}",
            "1979-05-27",
            "inf",
        ),
        *(
            "'x",
            "!!python/object:os.system x",
            "&a [*a]",
            "*a",
            "~",
            "0x" + "f" * 5000,
            "9" * 5000,
            "{}",
            "",
        ),
    ]
)
_LINES = st.one_of(
    st.builds("{} = {}".format, _KEYS, _VALUES),
    st.builds("{}: {}".format, _KEYS, _VALUES),
    st.builds("[{}]".format, _KEYS),
    st.builds("  {}: {}".format, _KEYS, _VALUES),
    st.text(max_size=30),
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["f.toml", "f.yaml"]),
    content=st.lists(_LINES, max_size=8).map(
        lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
    ),
)
def test_whatever_is_in_a_file_only_our_own_error_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    assert len(_load(path)) < 20_000


def _load(path: Path) -> str:
    try:
        load_settings({"queue": "q"}, file=path, environ={"QUEUE_ENVIRONMENT": "prod"})
    except SettingsError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_problem_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    for name in ("b.toml", "b.yaml"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        _load(path)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.toml", "a = " + "[" * 5_000 + "]" * 5_000, "is nested too deeply"),
        ("a.yaml", "[" * 5_000 + "]" * 5_000, "is nested too deeply"),
        ("a.yaml", "{a: " * 3_000 + "1" + "}" * 3_000, "is nested too deeply"),
        ("a.toml", "#" * 1_000_001, "is larger than 1,000,000 bytes"),
        (
            "a.yaml",
            "a: &a {k: v}\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(10)),
            "repeats itself by too many aliases",
        ),
        ("a.yaml", "queue: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a.yaml", "? [a, b]\n: 1", "is not YAML"),
        ("a.yaml", "queue: &a [*a]", "a list cannot be queue"),
    ],
)
def test_what_is_built_to_exhaust_us_is_refused_with_the_reason(
    folder: Path, name: str, text: str, why: str
) -> None:
    (folder / name).write_text(text)
    assert why in _load(folder / name)


_TEXTS = st.sampled_from(
    ["orders", "sqs://orders", " ", "", "5", "x" * 50, "vault://a/b#c", "eu-west-1"]
)
_NAMES = st.sampled_from(
    [
        "QUEUE_NAME",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "PATH",
        "QUEUE_DLQ_NAME",
        "QUEUE_CONCURRENCY",
    ]
)


@given(
    author=st.dictionaries(
        st.sampled_from(["queue", "aws_region", "in_flight"]), _TEXTS | st.none()
    ),
    environ=st.dictionaries(_NAMES, _TEXTS),
)
def test_the_short_way_gives_what_the_long_one_does(
    author: Mapping[str, object], environ: Mapping[str, str]
) -> None:
    quick = _plain(author, environ)
    if quick is None:
        return
    whole: Any = _layered(author, None, environ, None, None)
    assert {name: getattr(quick, name) for name in DEFAULTS} == {
        name: getattr(whole, name) for name in DEFAULTS
    }
    assert [str(quick.origin(name)) for name in DEFAULTS] == [
        str(whole.origin(name)) for name in DEFAULTS
    ]
    assert quick.warnings == whole.warnings
