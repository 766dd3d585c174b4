"""Keeps secrets out of whatever is shown: a wrapper for one value, and a filter for any text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Protocol

if TYPE_CHECKING:
    import re

HIDDEN: Final = "***"

# A name whose end says that a secret follows. `SharedAccessKeyName` and `aws_access_key_id` are no
# secrets and stay: the separator has to follow the name at once.
_NAME: Final = (
    r"(?:(?:access|account|api|app|client|encryption|functions?|host|identity|instrumentation"
    r"|master|private|secret|service|shared|signing|storage|subscription)[-_ ]?key"
    r"|shared_?access_?signature|pass(?:word|wd|phrase|code)|\bpass(?=\s{0,8}=)|pwd|secret|token"
    r"|(?:connection|conn)[-_ ]?str(?:ing)?(?=\s{0,8}[=:]\s{0,8}\S*=)|authorization|assertion"
    r"|cookie|credentials?(?==)|(?<=[?&])code(?==)"
    r"|\b(?:sas|jwt|sig(?:nature)?)(?=\s?=|%3d|\\?[\"']\s?[:=]))"
)
# A query string, a connection string, an ini line and a JSON object write a secret as a name, a
# separator (percent-encoded where one is nested in a URL) and a value. A scheme is no name.
_SEPARATOR: Final = r"\\?[\"']?\s{0,8}(?:=|:(?!//)|%3[ad])\s{0,8}"
# In quotes it ends with them; in a connection string before the next name, so that spaces are
# hidden too; else with a space or a separator.
_VALUE: Final = (
    r"(?:(?P<quote>\\?[\"'])(?:(?!(?P=quote)).)*"
    r"|[^;&\"'\n]{1,512}?(?=;\s{0,8}\w[\w ]{0,40}=)"
    r"|(?:[^\s\"'&;\\,]|,(?=\S))+)"
)
_NAMED: Final = rf"(?P<name>{_NAME}{_SEPARATOR}){_VALUE}"
# An AWS secret key can hold a slash, so the password ends at an @ that no other follows before the
# next slash; a port is none. The counts bound what a long line without an @ costs.
_IN_URL: Final = r"(://[^/\s:@]{0,256}:)(?!\d+[/?#])[^\s\"'<>]{0,512}?@(?![^/\s\"'<>@]{0,256}@)"
_USER_OF_URL: Final = r"(://)[^/\s:@?#\"'<>*]{1,256}@"
_SCHEMES_OF_HTTP: Final = r"\b(bearer|basic|sharedaccesskey)(\s{1,8})[\w.~+/=-]{6,}"
# What is a token by its own form: a JSON Web Token, Vault's, a private key.
_BY_FORM: Final = r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?|\bhv[sbr]\.[\w-]{12,}"
_PRIVATE_KEY: Final = r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)[^-]*"

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
        (re.compile(_PRIVATE_KEY), rf"\1{HIDDEN}"),
        (re.compile(_SCHEMES_OF_HTTP, re.IGNORECASE), rf"\1\2{HIDDEN}"),
        (re.compile(_NAMED, re.IGNORECASE), rf"\g<name>\g<quote>{HIDDEN}"),
        (re.compile(_IN_URL), rf"\1{HIDDEN}@"),
        (re.compile(_USER_OF_URL), rf"\1{HIDDEN}@"),
        (re.compile(_BY_FORM), HIDDEN),
    ]
    return _compiled


class Secret:
    """A text that no repr, format or pickle shows; `reveal()` at the point of use.

    One that came from a store changes when it is read there again; see `config.references`.
    """

    __slots__ = ("_text",)
    version = 0

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text itself: hand it on at once, and never keep it."""
        return self._text

    def renew(self, version: int = 0) -> bool:
        """Read it again where it is kept, and tell whether it is another than that version now."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: hand over where it is kept, and read it there")


class SecretResolver(Protocol):
    """Whatever can turn a `secret://…` reference into the secret: a vault, a secrets service."""

    def resolve(self, reference: str, /) -> str:
        """Give the secret's text, or raise; the error's own text is redacted before it is shown."""
        ...
