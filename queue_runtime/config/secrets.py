"""Keeps secrets out of whatever is shown: a wrapper for one value, and a filter for any text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import re

HIDDEN: Final = "***"
REFERENCE: Final = "secret://"

# A query string, a connection string, an ini line and a JSON object all write a secret as a name,
# a separator (percent-encoded where one is nested in a URL) and a value. `SharedAccessKeyName` is
# no secret and stays: the separator has to follow the name at once.
_NAMED: Final = (
    r"(shared_?access_?(?:key|signature)|account_?key|secret_?access_?key|client_?secret"
    r"|(?:session|security)[-_]?token|password|\bsig(?:nature)?(?==|%3d))"
    r"(\\?[\"']?\s*(?:[:=]|%3[ad])\s*\\?[\"']?)"
    r"[^\s\"'&;,\\]+"
)
# An AWS secret key can hold a slash, so the password ends at an @ that no other follows before the
# next slash; a port is none. The counts bound what a long line without an @ costs.
_IN_URL: Final = r"(://[^/\s:@]{0,256}:)(?!\d+[/?#])[^\s\"'<>]{0,512}?@(?![^/\s\"'<>@]{0,256}@)"

_compiled: list[tuple[re.Pattern[str], str]] = []


def redact(text: str) -> str:
    r"""Hide keys, signatures, tokens and passwords; what identifies (names, hosts) stays.

    >>> redact("Endpoint=sb://ns/;SharedAccessKeyName=app;SharedAccessKey=c2VjcmV0")
    'Endpoint=sb://ns/;SharedAccessKeyName=app;SharedAccessKey=***'
    """
    for pattern, shown in _compiled or _compile():
        text = pattern.sub(shown, text)
    return text


def _compile() -> list[tuple[re.Pattern[str], str]]:
    # On first use: a start that has nothing to show does not pay for compiling.
    import re

    _compiled[:] = [
        (re.compile(_NAMED, re.IGNORECASE), rf"\1\2{HIDDEN}"),
        (re.compile(_IN_URL), rf"\1{HIDDEN}@"),
    ]
    return _compiled


class Secret:
    """A text that no repr, log line or f-string shows; `reveal()` at the point of use."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text itself: hand it on at once, and never keep it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN


class SecretResolver(Protocol):
    """Whatever can turn a `secret://…` reference into the secret: a vault, a secrets service."""

    def resolve(self, reference: str, /) -> str:
        """Give the secret's text, or raise; the error's own text is redacted before it is shown."""
        ...
