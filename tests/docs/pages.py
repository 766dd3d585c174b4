"""The pages as a reader sees them: rendered as the site is, with what their code blocks hold."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from markdown import Markdown
from mkdocs.config import load_config

from tests.docs.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def code_blocks(page: Path, *languages: str) -> list[str]:
    """Give the text of a page's code blocks in these languages, in their order."""
    shown = _Blocks()
    shown.feed(_renderer().reset().convert(page.read_text()))
    return [text for language, text in shown.blocks if language in languages]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def _renderer() -> Any:
    config = load_config(str(ROOT / "mkdocs.yml"))
    configs = {
        **config.mdx_configs,
        "pymdownx.snippets": {**config.mdx_configs["pymdownx.snippets"], "base_path": [str(ROOT)]},
        "pymdownx.highlight": {"pygments_lang_class": True},  # else no block tells its language
    }
    return Markdown(extensions=config.markdown_extensions, extension_configs=configs)


class _Blocks(HTMLParser):
    """Collects `<div class="language-… highlight">` and the text of its code."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[tuple[str, str]] = []
        self._language = ""
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "div" and "highlight" in classes:
            self._language = next((each[9:] for each in classes if each[:9] == "language-"), "")
        if tag == "code" and self._language:
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "code" and self._text is not None:
            self.blocks.append((self._language, "".join(self._text)))
            self._language, self._text = "", None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)


def commands(page: Path) -> Iterator[str]:
    """Give the commands of a page's console and shell blocks, as they would be typed."""
    for block in code_blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield line[2:].partition("  #")[0].strip()
    for block in code_blocks(page, "sh", "bash"):
        yield from (line for line in block.splitlines() if line and not line.startswith("#"))
