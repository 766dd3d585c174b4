"""Reads secrets where they are kept, and again when they change there, without a restart.

A reference is a URL that stands in the place of a value: `aws-secretsmanager://prod/orders#url`,
`azure-keyvault://vault/secret`, `vault://secret/orders#password`, `env://NAME`, `file:///run/x`.
Behind `#` is the field of a secret that is a JSON object.
"""

from __future__ import annotations

import os
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from queue_runtime.config.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config.secrets import SecretResolver

OWN: Final = "secret"
# Imported by name and only when a reference is met: this room is beneath those that know clouds.
_STORES: Final = {
    "aws-secretsmanager": "queue_runtime.clouds.secrets_aws:SecretsManager",
    "azure-keyvault": "queue_runtime.clouds.secrets_azure:KeyVault",
    "vault": "queue_runtime.clouds.secrets_vault:Vault",
}
ENTRY_POINTS: Final = "queue_runtime.secret_stores"
# Many may fail by the same old key at once: none asks again so soon.
SOONEST_SECONDS: Final = 10.0


class SecretProblem(ValueError):
    """Says why a secret cannot be had, with the fix, and never what was sent for it."""


class Found:
    """A secret as its store gave it; `ends` is when it stops being valid, in Unix seconds."""

    __slots__ = ("ends", "text")

    def __init__(self, text: str, ends: float | None = None) -> None:
        self.text, self.ends = text, ends


class SecretStore(Protocol):
    """A kind of store; one object for the process, whose calls block."""

    def read(self, place: str, field: str, /) -> Found:
        """Read what is at a place now; `place` is the reference without its scheme and `#field`.

        Raises:
            SecretProblem: it is not there, or may not be read.
        """


class Referenced(Secret):
    """A secret that a store keeps: `reveal()` gives what was read there last.

    - `version` grows with each change.
    - `ends`: when it stops being valid, in Unix seconds, where its store knows.
    - `on_failure`: told the error of each reading again that failed.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_read",
        "_read_at",
        "_turn",
        "ends",
        "on_failure",
        "reference",
        "version",
    )

    def __init__(
        self, reference: str, read: Callable[[], Found], clock: Callable[[], float] = monotonic
    ) -> None:
        self.reference, self._read, self._clock = reference, read, clock
        self._turn = Lock()
        self.on_failure: Callable[[Referenced, Exception], None] | None = None
        found = read()
        super().__init__(found.text)
        self.ends, self.version, self._read_at = found.ends, 1, clock()

    def renew(self, version: int = 0) -> bool:
        """Read it again after the value of a version was refused; True where there is another now.

        It blocks. Callers that come at the same time share one request, and a store that was asked
        within the last ten seconds is not asked again.
        """
        with self._turn:
            if self.version == (version or self.version) and self._age() >= SOONEST_SECONDS:
                before = self.version
                self._read_again()
                return self.version != before
            return bool(version) and self.version != version

    def refresh(self, period: float) -> None:
        """Read it again where it was read longer than `period` seconds ago."""
        with self._turn:
            if self._age() >= period:
                self._read_again()

    def _age(self) -> float:
        return self._clock() - self._read_at

    def _read_again(self) -> None:
        # A store that fails is not asked more often than one that works.
        self._read_at = self._clock()
        try:
            found = self._read()
        except Exception as error:
            if self.on_failure is not None:
                self.on_failure(self, error)
            return
        self.ends = found.ends
        if found.text != self._text:
            self._text, self.version = found.text, self.version + 1


def is_reference(text: str) -> bool:
    """Tell whether a text stands for a secret that is kept elsewhere."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme in _SCHEMES


def open_reference(reference: str, resolver: SecretResolver | None = None) -> Referenced:
    """Read a reference; whoever asks for the same one gets the same object while it is in use.

    Raises:
        Exception: it cannot be read; the text has the fix.
    """
    if resolver is not None and reference.startswith(f"{OWN}://"):
        return Referenced(reference, lambda: Found(_resolved(resolver, reference)))
    found = _known.get(reference)
    if found is None:
        found = _known[reference] = Referenced(reference, lambda: _found(reference))
    return found


def field_of(text: str, field: str) -> str:
    """Give one field of a secret that is a JSON object, or all of it where none is asked for.

    Raises:
        SecretProblem: it is no such object, or has no such field.
    """
    if not field:
        return text
    import json

    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise SecretProblem(f"the secret is no JSON object; leave out #{field}")
    if fields.get(field) is None:
        known = ", ".join(map(str, fields)) or "none at all"
        raise SecretProblem(f"the secret has no field {field}, but {known}; correct #{field}")
    return str(fields[field])


def _resolved(resolver: SecretResolver, reference: str) -> str:
    try:
        text = resolver.resolve(reference).strip()
    except Exception as error:
        kind = type(error).__name__
        fix = "correct the reference, or allow it to be read"
        raise SecretProblem(f"{kind}: {error}; {fix}") from None
    return _not_empty(text)


def _found(reference: str) -> Found:
    scheme, _, rest = reference.partition("://")
    place, _, field = rest.partition("#")
    found = _store(scheme).read(place, field)
    text = _not_empty(found.text.strip())
    return Found(text, found.ends if found.ends is not None else end_of(text))


def _not_empty(text: str) -> str:
    if not text:
        raise SecretProblem("it resolves to nothing: put a value there")
    return text


def end_of(text: str) -> float | None:
    """Give when a shared access signature says that it ends."""
    if "SharedAccessSignature" not in text:
        return None
    digits = text.partition("&se=")[2].partition("&")[0]
    return float(digits) if digits.isdecimal() and len(digits) < 12 else None


def _store(scheme: str) -> SecretStore:
    if scheme not in _opened:
        _opened[scheme] = _load(scheme)
    return _opened[scheme]


def _load(scheme: str) -> SecretStore:
    if name := _STORES.get(scheme):
        from importlib import import_module

        module, _, kind = name.partition(":")
        store: Any = getattr(import_module(module), kind)
        return store()  # type: ignore[no-any-return]  # found by name
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS):
        return entry.load()()  # type: ignore[no-any-return]  # found by name
    raise SecretProblem(
        f"no secret resolver was given: pass load_settings(resolver=...), or install a package "
        f"with an entry point in the group {ENTRY_POINTS}"
    )


class _Variables:
    """Reads environment variables."""

    def read(self, place: str, field: str) -> Found:
        """Read one; see `SecretStore.read`."""
        if not os.environ.get(place):
            raise SecretProblem(f"there is no environment variable {place}; set it")
        return Found(field_of(os.environ[place], field))


class _Files:
    """Reads files, such as those that Kubernetes and Docker put secrets into."""

    def read(self, place: str, field: str) -> Found:
        """Read one; see `SecretStore.read`."""
        try:
            with open(place, encoding="utf-8") as stream:
                return Found(field_of(stream.read(), field))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            fix = "correct the path (file:///run/secrets/x)"
            raise SecretProblem(f"the file cannot be read: {reason}; {fix}") from None


_SCHEMES: Final = frozenset({*_STORES, "env", "file", OWN})
_opened: dict[str, SecretStore] = {"env": _Variables(), "file": _Files()}
_known: WeakValueDictionary[str, Referenced] = WeakValueDictionary()
