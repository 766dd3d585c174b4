"""Puts one layer of settings over the other, and collects everything that is wrong on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.config.contradictions import impossible
from queue_runtime.config.names import (
    PREFIX,
    ambiguous,
    filled,
    split_variable,
    table_name,
    variable_part,
)
from queue_runtime.config.origin import DEFAULT, Origin
from queue_runtime.config.references import is_reference, open_reference
from queue_runtime.config.secrets import HIDDEN, Secret, redact
from queue_runtime.config.table import SETTINGS, VARIABLE, Setting, shown
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from queue_runtime.config.file import Contents
    from queue_runtime.config.origin import Layer
    from queue_runtime.config.secrets import SecretResolver

_PREFIX: Final = "QUEUE_"
_NAMES_OF_QUEUES: Final = ("queue", "dead_letter")


class _Table:
    """A table of the file for one queue: `said` by key, and the keys of the tables around it."""

    __slots__ = ("keys", "queue", "said")

    def __init__(self, queue: str, said: Mapping[object, object], keys: tuple[str, ...]) -> None:
        self.queue, self.said, self.keys = queue, said, keys


class Draft:
    """Settings in the making: later layers replace earlier values, problems only add up.

    - `shadowed`: by setting, what was replaced, the latest first.
    - `secrets`: the live values of settings that were read from a store.
    """

    __slots__ = (
        "_contents",
        "_tables",
        "_wrong",
        "origins",
        "problems",
        "secrets",
        "shadowed",
        "values",
        "warnings",
    )

    def __init__(self) -> None:
        self.values: dict[str, Any] = {name: row.default for name, row in SETTINGS.items()}
        self.origins: dict[str, Origin] = {}
        self.shadowed: dict[str, list[tuple[Origin, Any]]] = {}
        self.secrets: dict[str, Secret] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._wrong: set[str] = set()
        self._tables: list[_Table] = []
        self._contents: Contents | None = None

    def say(self, layer: Layer, said: Mapping[str, object] | None) -> None:
        """Add what the decorator or a call says; None is "not said".

        A key written as an option (`--max-deliveries`) is from the command line, where a value is
        text until it is parsed here.
        """
        for key, value in (said or {}).items():
            if value is not None:
                option = layer == "argument" and key.startswith("--")
                name = key[2:].replace("-", "_") if option else key
                self._say_one(name, Origin(layer, key), value, parse=option)

    def _say_one(
        self,
        name: str,
        origin: Origin,
        value: object,
        *,
        parse: bool = False,
        apply: bool = True,
        of_queue: bool = False,
    ) -> None:
        setting = SETTINGS.get(name)
        if setting is None:
            self._unknown(origin, name)
        elif of_queue and setting.per_process:
            self.problem(
                f"{origin}: {name} is one for the whole process; write it above the tables"
            )
        else:
            self._take(setting, value, origin, parse=parse, apply=apply)

    # --- the file --------------------------------------------------------------------------------

    def say_file(self, contents: Contents, environment: str) -> None:
        """Add what the file says for all queues, and over it what it says for this environment.

        An empty value is a mistake there, not "not said". Tables of queues wait for `say_queue`.
        """
        self._contents = contents
        root = dict(contents.said)
        environments = self._take_tables(root, "env", ())
        self._say_table(root, ())
        chosen = environment or str(self.values["environment"] or "")
        for name, said in environments.items():
            self._say_table(said, ("env", name), apply=name == chosen)
        if environments and not chosen:
            known = ", ".join(f"[env.{name}]" for name in environments)
            self.warnings.append(
                f"file {contents.path}: {known} is not read; set QUEUE_ENVIRONMENT to choose one"
            )
        elif environments and chosen not in environments:
            close = _closest(chosen, {name: f"[env.{name}]" for name in environments})
            fix = _suggest(close) or "add it, or leave QUEUE_ENVIRONMENT out"
            self.problem(f"file {contents.path}: has no table [env.{chosen}]; {fix}")

    def _say_table(
        self, said: dict[object, object], keys: tuple[str, ...], *, apply: bool = True
    ) -> None:
        for queue, table in self._take_tables(said, "queue", keys).items():
            within = (*keys, "queue", queue)
            # Of another environment it is only looked at for mistakes: no queue has that name.
            self._tables.append(_Table(queue if apply else "", table, within))
        for key, value in said.items():
            self._say_one(str(key), self._in_file((*keys, str(key))), value, apply=apply)

    def _take_tables(
        self, said: dict[object, object], key: str, keys: tuple[str, ...]
    ) -> dict[str, dict[object, object]]:
        if not isinstance(said.get(key), dict):
            return {}
        tables: dict[str, dict[object, object]] = {}
        for name, table in said.pop(key).items():  # type: ignore[attr-defined]  # a dict, as asked
            if isinstance(table, dict):
                tables[str(name)] = dict(table)
            else:
                origin = self._in_file((*keys, key, str(name)))
                self.problem(f"{origin}: is no table; write [{'.'.join((*keys, key, 'NAME'))}]")
        return tables

    def _in_file(self, keys: tuple[str, ...]) -> Origin:
        assert self._contents is not None  # noqa: S101 - for mypy: a table is of a file
        path, line = self._contents.path, self._contents.line(*keys)
        return Origin("file", redact(".".join(keys))[:200], path, line=line)

    # --- variables -------------------------------------------------------------------------------

    def say_environment(self, environ: Mapping[str, str]) -> None:
        """Add the variables; an empty one is "not said", as deployment templates write it."""
        for setting in SETTINGS.values():
            for variable in setting.environment:
                if text := environ.get(variable, "").strip():
                    self._take(setting, text, Origin("environment", variable), parse=True)
                    break
        self._warn_of_unknown(environ)

    def say_queue(self, environ: Mapping[str, str], queues: tuple[str, ...]) -> None:
        """Add what names one of these queues: first the file's tables, then the variables.

        They are what the decorator says and what is in effect, which both name the queue.
        """
        names = list(dict.fromkeys(table_name(queue) for queue in queues))
        for table in [t for t in self._tables if t.queue not in names]:
            self._say_of_queue(table, apply=False)
        for name in names:
            for table in [t for t in self._tables if t.queue == name]:
                self._say_of_queue(table)
        self._say_variables_of_queues(environ, names)

    def _say_of_queue(self, table: _Table, *, apply: bool = True) -> None:
        for key, value in table.said.items():
            origin = self._in_file((*table.keys, str(key)))
            self._say_one(str(key), origin, value, apply=apply, of_queue=True)

    def _say_variables_of_queues(self, environ: Mapping[str, str], names: list[str]) -> None:
        known = [*names, *(table.queue for table in self._tables if table.queue)]
        unclear, ours = ambiguous(known), {variable_part(name) for name in names}
        for variable in sorted(name for name in environ if name.startswith(PREFIX)):
            part, key = split_variable(variable)
            origin = Origin("environment", variable)
            if part in unclear:
                both = " and ".join(unclear[part])
                self.problem(f"{origin}: could mean {both}; say it in the file, or rename one")
            elif text := environ[variable].strip():
                self._say_variable(origin, key, text, apply=part in ours)

    def _say_variable(self, origin: Origin, key: str, text: str, *, apply: bool) -> None:
        setting = next((s for s in SETTINGS.values() if f"{_PREFIX}{key}" in s.environment), None)
        if setting is not None:
            self._say_one(setting.name, origin, text, parse=True, apply=apply, of_queue=True)
            return
        name = key.lower()
        if name in SETTINGS:  # by its own name, and so in our unit
            close = SETTINGS[name].environment[0].removeprefix(_PREFIX)
            fix = f"write {origin.key.removesuffix(key)}{close}"
        else:
            spellings = _spellings()
            close = _closest(name, spellings)
            fix = _suggest(SETTINGS[close].environment[0] if close else "") or "remove it"
        self.problem(f"{origin}: {key} is no setting; {fix}")

    def _take(
        self, setting: Setting, value: object, origin: Origin, *, parse: bool, apply: bool = True
    ) -> None:
        said = value
        if setting.secret and isinstance(value, Secret):
            value = value.reveal()
        try:
            if isinstance(value, str) and setting.kind is str and is_reference(value.strip()):
                value = value.strip()
            elif parse and isinstance(value, str):
                value = setting.parse(value.strip())
            if origin.layer == "environment":
                value = setting.in_our_unit(value)
            value = setting.accept(value)
        except (ValueError, OverflowError):
            self._wrong.add(setting.name)
            self.problem(_refusal(setting, said, origin))
            return
        if not apply:
            return
        if setting.name in self.origins:
            before = (self.origins[setting.name], self.values[setting.name])
            self.shadowed.setdefault(setting.name, []).insert(0, before)
        self.values[setting.name] = Secret(str(value)) if setting.secret else value
        self.origins[setting.name] = origin

    def _unknown(self, origin: Origin, key: str) -> None:
        close = _closest(key.lstrip("-").replace("-", "_").lower(), _spellings())
        if close and origin.key.startswith("--"):
            close = f"--{close.replace('_', '-')}"
        said = Origin(origin.layer, redact(origin.key), origin.path, line=origin.line)
        self.problem(f"{said}: is no setting; {_suggest(close) or 'remove it'}")

    def _warn_of_unknown(self, environ: Mapping[str, str]) -> None:
        # Other software may use the prefix too, so these never stop a start.
        ours = {name for row in SETTINGS.values() for name in row.environment} | {VARIABLE}
        strange = [name for name in environ if name.startswith(_PREFIX) and name not in ours]
        spellings = {n.removeprefix(_PREFIX): n for n in ours if n.startswith(_PREFIX)}
        for name in sorted(strange):
            if not name.startswith(PREFIX):
                close = _suggest(_closest(name.removeprefix(_PREFIX), spellings))
                fix = close or "nothing to do if other software reads it"
                self.warnings.append(f"environment variable {name}: is no setting; {fix}")

    # --- the whole -------------------------------------------------------------------------------

    def name_queues(self) -> None:
        """Make the names of queues by the template, where decorator or file have bare names."""
        template = self.values["name_template"]
        for name in _NAMES_OF_QUEUES if template else ():
            value, origin = self.values[name], self.origins.get(name, DEFAULT)
            bare = isinstance(value, str) and not any(sign in value for sign in ":/%")
            if not bare or origin.layer not in ("author", "file"):
                continue
            parts = self.values["environment"], self.values["application"]
            try:
                self.values[name] = filled(template, value, *parts)
            except ValueError as error:
                self._wrong.add(name)
                self.problem(f"{self.origins['name_template']}: cannot name {name}: {error}")
                return

    def resolve(self, resolver: SecretResolver | None) -> None:
        """Replace each reference that is in effect by what it refers to."""
        for name, origin in list(self.origins.items()):
            value = self.values[name]
            text = value.reveal() if isinstance(value, Secret) else value
            if isinstance(text, str) and name not in self.secrets and is_reference(text):
                self._resolve_one(SETTINGS[name], text, origin, resolver)

    def _resolve_one(
        self, setting: Setting, reference: str, origin: Origin, resolver: SecretResolver | None
    ) -> None:
        self.origins[setting.name] = origin = origin.by(redact(reference))
        try:
            secret = open_reference(reference, resolver)
        except Exception as error:
            self._wrong.add(setting.name)
            self.values[setting.name] = None
            self.problem(f"{origin}: cannot be resolved: {redact(str(error))}")
            return
        self.secrets[setting.name] = secret
        self.values[setting.name] = secret if setting.secret else secret.reveal()

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
            problems = list(dict.fromkeys(self.problems))
            count = "1 setting is" if len(problems) == 1 else f"{len(problems)} are"
            lines = "".join(f"\n  {line}" for line in problems)
            raise SettingsError(f"settings: {count} wrong{lines}")


def _refusal(setting: Setting, value: object, origin: Origin) -> str:
    takes = setting.takes(environment=origin.layer == "environment")
    if setting.secret:
        said = "its value"
    elif isinstance(value, str | int | float):
        said = _quoted(value)
    else:
        said = "nothing" if value is None else f"a {type(value).__name__}"
    return f"{origin}: {said} cannot be {setting.name}; write {takes}"


def _quoted(value: object) -> str:
    try:
        return redact(repr(value))[:100]
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def _spellings() -> dict[str, str]:
    spellings = {name: name for name in SETTINGS}
    for name, setting in SETTINGS.items():
        for variable in setting.environment:
            lower = variable.lower()
            spellings.update({lower: name, lower.removeprefix(_PREFIX.lower()): name})
    return spellings


def _closest(word: str, spellings: Mapping[str, str]) -> str:
    import difflib  # only a mistake pays for it

    close = difflib.get_close_matches(word, spellings, n=1)
    return spellings[close[0]] if close else ""


def _suggest(name: str) -> str:
    return f"did you mean {name}?" if name else ""


def display(setting: Setting, value: object, origin: Origin) -> str:
    """Write a value for people: never a secret, nor what a reference resolved to."""
    if value is None:
        return shown(value)
    return HIDDEN if setting.secret or origin.reference else redact(shown(value))
