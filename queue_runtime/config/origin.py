"""Where a setting's value came from, said the way that a person finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Literal

    Layer = Literal["default", "author", "file", "environment", "argument"]


class Origin:
    """Where a value came from: `layer`, and `key` as it was written there.

    `path` and `line` are the configuration file's, for the layer "file"; `reference` names the
    store's entry that the value was read from.
    """

    __slots__ = ("key", "layer", "line", "path", "reference")

    def __init__(
        self, layer: Layer, key: str = "", path: str = "", reference: str = "", line: int = 0
    ) -> None:
        self.layer: Layer = layer
        self.key, self.path, self.line = key, path, line
        self.reference = reference

    def __str__(self) -> str:
        text = self._place()
        return f"{text} by {self.reference}" if self.reference else text

    def __repr__(self) -> str:
        return f"<Origin {self}>"

    def by(self, reference: str) -> Origin:
        """Give the same for a value that was read from a store."""
        return Origin(self.layer, self.key, self.path, reference, self.line)

    def _place(self) -> str:
        if self.layer == "default":
            return "default"
        if self.layer == "file":
            at = f":{self.line}" if self.line else ""
            return f"file {self.path}{at}, key {self.key}"
        if self.layer == "environment":
            return f"environment variable {self.key}"
        if self.layer == "author":
            return f"decorator argument {self.key}"
        return f"{'option' if self.key.startswith('--') else 'argument'} {self.key}"


DEFAULT: Final = Origin("default")
