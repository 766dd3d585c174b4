"""Puts one layer of settings over the other, and collects everything that is wrong on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.config.secrets import HIDDEN, REFERENCE, Secret, redact
from queue_runtime.config.services import BY_SCHEME
from queue_runtime.config.table import SETTINGS, VARIABLE, Setting, shown
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Literal

    from queue_runtime.config.secrets import SecretResolver

    Layer = Literal["default", "author", "file", "environment", "argument"]

_PREFIX: Final = "QUEUE_"


class Origin:
    """Where a value came from: `layer`, and `key` as it was written there.

    `path` is the configuration file's, for the layer "file"; `reference` is the `secret://…` that
    was resolved.
    """

    __slots__ = ("key", "layer", "path", "reference")

    def __init__(self, layer: Layer, key: str = "", path: str = "", reference: str = "") -> None:
        self.layer: Layer = layer
        self.key = key
        self.path = path
        self.reference = reference

    def __str__(self) -> str:
        text = self._place()
        return f"{text} by {self.reference}" if self.reference else text

    def __repr__(self) -> str:
        return f"<Origin {self}>"

    def _place(self) -> str:
        if self.layer == "default":
            return "default"
        if self.layer == "file":
            return f"file {self.path}, key {self.key}"
        if self.layer == "environment":
            return f"environment variable {self.key}"
        if self.layer == "author":
            return f"decorator argument {self.key}"
        return f"{'option' if self.key.startswith('--') else 'argument'} {self.key}"


DEFAULT: Final = Origin("default")


class Draft:
    """Settings in the making: later layers replace earlier values, problems only add up."""

    __slots__ = ("_wrong", "origins", "problems", "values", "warnings")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {name: row.default for name, row in SETTINGS.items()}
        self.origins: dict[str, Origin] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._wrong: set[str] = set()

    def say(self, layer: Layer, said: Mapping[str, object] | None) -> None:
        """Add what the decorator or a call says; None is "not said".

        A key written as an option (`--max-deliveries`) is from the command line, where a value is
        text until it is parsed here.
        """
        for key, value in (said or {}).items():
            if value is not None:
                self._say_one(Origin(layer, key), value)

    def _say_one(self, origin: Origin, value: object) -> None:
        option = origin.layer == "argument" and origin.key.startswith("--")
        name = origin.key[2:].replace("-", "_") if option else origin.key
        if name in SETTINGS:
            self._take(SETTINGS[name], value, origin, parse=option)
        else:
            self._unknown(origin)

    def say_file(self, path: str, said: Mapping[object, object]) -> None:
        """Add what the file says; an empty value is a mistake there, not "not said"."""
        for key, value in said.items():
            self._say_one(Origin("file", str(key), path), value)

    def say_environment(self, environ: Mapping[str, str]) -> None:
        """Add the variables; an empty one is "not said", as deployment templates write it."""
        for setting in SETTINGS.values():
            for variable in setting.environment:
                if text := environ.get(variable, "").strip():
                    self._take(setting, text, Origin("environment", variable), parse=True)
                    break
        self._warn_of_unknown(environ)

    def _take(self, setting: Setting, value: object, origin: Origin, *, parse: bool) -> None:
        said = value
        if setting.secret and isinstance(value, Secret):
            value = value.reveal()
        try:
            if parse and isinstance(value, str):
                value = setting.parse(value.strip())
            if origin.layer == "environment":
                value = setting.in_our_unit(value)
            value = setting.accept(value)
        except (ValueError, OverflowError):
            self._wrong.add(setting.name)
            self.problem(_refusal(setting, said, origin))
            return
        self.values[setting.name] = Secret(str(value)) if setting.secret else value
        self.origins[setting.name] = origin

    def _unknown(self, origin: Origin) -> None:
        spellings = {name: name for name in SETTINGS}
        for name, setting in SETTINGS.items():
            for variable in setting.environment:
                lower = variable.lower()
                spellings.update({lower: name, lower.removeprefix(_PREFIX.lower()): name})
        close = _closest(origin.key.lstrip("-").replace("-", "_").lower(), spellings)
        if close and origin.key.startswith("--"):
            close = f"--{close.replace('_', '-')}"
        said = Origin(origin.layer, redact(origin.key), origin.path)
        self.problem(f"{said}: is no setting; {_suggest(close) or 'remove it'}")

    def _warn_of_unknown(self, environ: Mapping[str, str]) -> None:
        # Other software may use the prefix too, so these never stop a start.
        ours = {name for row in SETTINGS.values() for name in row.environment}
        strange = [name for name in environ if name.startswith(_PREFIX) and name not in ours]
        spellings = {n.removeprefix(_PREFIX): n for n in ours if n.startswith(_PREFIX)}
        for name in sorted(strange):
            if name != VARIABLE:
                close = _suggest(_closest(name.removeprefix(_PREFIX), spellings))
                fix = close or "nothing to do if other software reads it"
                self.warnings.append(f"environment variable {name}: is no setting; {fix}")

    def resolve(self, resolver: SecretResolver | None) -> None:
        """Replace each `secret://…` that is in effect by what it refers to."""
        for name, origin in self.origins.items():
            value = self.values[name]
            text = value.reveal() if isinstance(value, Secret) else value
            if isinstance(text, str) and text.startswith(REFERENCE):
                self._resolve_one(SETTINGS[name], text, origin, resolver)

    def _resolve_one(
        self, setting: Setting, reference: str, origin: Origin, resolver: SecretResolver | None
    ) -> None:
        text, failure = "", "no secret resolver was given: pass load_settings(resolver=...)"
        if resolver is not None:
            try:
                text = resolver.resolve(reference).strip()
                failure = "it resolves to nothing: put a value there"
            except Exception as error:
                reason = redact(f"{type(error).__name__}: {error}")
                failure = f"{reason}; correct the reference, or allow it to be read"
        self.values[setting.name] = Secret(text) if setting.secret else text
        self.origins[setting.name] = Origin(origin.layer, origin.key, origin.path, reference)
        if not text:
            self._wrong.add(setting.name)
            self.problem(f"{self.origins[setting.name]}: cannot be resolved: {failure}")

    def problem(self, line: str) -> None:
        """Note one wrong thing, on one line whatever it quotes."""
        self.problems.append(" ".join(line.split()))

    def check(self) -> None:
        """Raise everything that is wrong at once, impossible combinations included.

        Raises:
            SettingsError: anything is wrong.
        """
        for names, why in impossible(self.values):
            if self._wrong.isdisjoint(names):
                where = " and ".join(f"{n} ({self.origins.get(n, DEFAULT)})" for n in names)
                self.problem(f"{where}: {why}")
        if self.problems:
            count = "1 setting is" if len(self.problems) == 1 else f"{len(self.problems)} are"
            lines = "".join(f"\n  {line}" for line in self.problems)
            raise SettingsError(f"settings: {count} wrong{lines}")


def _refusal(setting: Setting, value: object, origin: Origin) -> str:
    takes = setting.takes(environment=origin.layer == "environment")
    if setting.secret:
        said = "its value"
    elif isinstance(value, str | int | float):
        said = redact(repr(value))[:100]
    else:
        said = "nothing" if value is None else f"a {type(value).__name__}"
    return f"{origin}: {said} cannot be {setting.name}; write {takes}"


def _closest(word: str, spellings: Mapping[str, str]) -> str:
    import difflib  # only a mistake pays for it

    close = difflib.get_close_matches(word, spellings, n=1)
    return spellings[close[0]] if close else ""


def _suggest(name: str) -> str:
    return f"did you mean {name}?" if name else ""


def impossible(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find values that contradict each other: their names, and why, with the fix."""
    if values["backoff_seconds"] > values["max_backoff_seconds"]:
        more, most = shown(values["backoff_seconds"]), shown(values["max_backoff_seconds"])
        why = f"{more} is more than the most, {most}; lower the first or raise the second"
        yield ("backoff_seconds", "max_backoff_seconds"), why
    queue = values["queue"] or ""
    if queue and queue == values["dead_letter"]:
        yield (
            ("queue", "dead_letter"),
            "a dead-lettered message would come straight back; name another queue",
        )
    scheme, _, rest = queue.partition("://")
    service = BY_SCHEME.get(scheme) if rest else None
    if service and values["provider"] not in (None, service.provider):
        why = (
            f"{scheme}:// is a queue of {service.provider}, not of {values['provider']}; correct "
            "either"
        )
        yield ("provider", "queue"), why
    if secret := values["connection_string"]:
        namespace = _host(rest) if scheme == "servicebus" else ""
        yield from _contradictions(secret.reveal(), namespace)


def _contradictions(
    connection_string: str, namespace: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    endpoint = _host(connection_string.lower().partition("endpoint=sb://")[2])
    if not endpoint:
        why = "has no Endpoint=sb://...; copy the whole connection string"
        yield ("connection_string",), why
    elif ".servicebus." in namespace:
        # In full it says "sign in there with an identity", and a connection string says "by key".
        why = (
            f"a key and the namespace {namespace} in full; leave out one (the short name may stay)"
        )
        yield ("connection_string", "queue"), why
    elif namespace and namespace not in (endpoint, endpoint.partition(".")[0]):
        why = f"one is for {endpoint}, the other for {namespace}; correct either"
        yield ("connection_string", "queue"), why


def _host(address: str) -> str:
    authority = address.partition(";")[0].partition("/")[0]
    return authority.rpartition("@")[2].partition(":")[0].lower()


def display(setting: Setting, value: object, origin: Origin) -> str:
    """Write a value for people: never a secret, nor what a reference resolved to."""
    if value is None:
        return shown(value)
    return HIDDEN if setting.secret or origin.reference else redact(shown(value))
