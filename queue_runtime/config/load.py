"""Loads the settings a process runs by: every layer, checked as a whole, each value traceable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from queue_runtime.config.layers import DEFAULT, Draft, Origin, display
from queue_runtime.config.table import SEARCHED, SETTINGS, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Literal

    from queue_runtime.config.secrets import Secret, SecretResolver


class Settings:
    """What a process runs by, read-only; `origin` and `explain` tell where each value came from.

    `warnings` are sentences for the log: nothing in them stops a start.
    """

    __slots__ = (*SETTINGS, "_origins", "warnings")

    provider: Literal["azure", "aws", "local"] | None
    queue: str | None
    dead_letter: str | None
    receive_seconds: float
    visibility_seconds: float
    max_deliveries: int
    backoff_seconds: float
    max_backoff_seconds: float
    concurrency: int
    in_flight: int
    reserve_seconds: float
    drain_seconds: float
    processes: int
    handler_seconds: float
    stuck_seconds: float
    max_messages: int
    max_memory_mb: int
    delayed_retries: bool
    error_text: bool
    preload: Literal["init"] | None
    breaker_failures: int
    breaker_seconds: float
    breaker_successes: int
    idempotency: bool
    idempotency_store: str | None
    idempotency_retention_seconds: float
    local_directory: str
    health_port: int
    health_address: str | None
    logs: Literal["json"] | None
    info_lines: int
    tracebacks: bool
    metrics: Literal["prometheus", "otlp", "emf", "azure-monitor"] | None
    tracing: Literal["otel", "xray"] | None
    semconv: Literal["current", "guide", "both"]
    trace_parent: bool
    flush_seconds: float
    connection_string: Secret | None
    azure_client_id: str | None
    azure_tenant_id: str | None
    aws_region: str | None
    warnings: list[str]
    _origins: dict[str, Origin]

    def __init__(self, draft: Draft) -> None:
        put = object.__setattr__
        for name, value in draft.values.items():
            put(self, name, value)
        put(self, "_origins", draft.origins)
        put(self, "warnings", draft.warnings)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are read-only: use replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"settings are read-only: {name} cannot be deleted")

    def __repr__(self) -> str:
        said = (f"{name}={self._shown(name)}" for name in SETTINGS if name in self._origins)
        return f"<Settings {' '.join(said) or 'all default'}>"

    def origin(self, name: str) -> Origin:
        """Tell which layer a setting's value came from, and by which key.

        Raises:
            KeyError: there is no such setting.
        """
        return self._origins.get(SETTINGS[name].name, DEFAULT)

    def explain(self) -> list[tuple[str, str, str]]:
        """List every setting with its value, secrets hidden, and its origin, to show to people."""
        return [(name, self._shown(name), str(self.origin(name))) for name in SETTINGS]

    def unusable_on(
        self, host: Literal["lambda", "functions", "poll"], but: Collection[str] = ()
    ) -> list[str]:
        """Say, a sentence each, what somebody set that has no effect on this host.

        `but` names settings that have one this time.
        """
        said = [SETTINGS[name] for name in SETTINGS if name in self._origins and name not in but]
        return [
            f"{each.name} = {self._shown(each.name)} ({self.origin(each.name)}) has no effect on "
            f"{host}: {why}."
            for each in said
            if (why := each.unusable_on(host, getattr(self, each.name)))
            and not (each.unless and getattr(self, each.unless))
        ]

    def replace(self, **arguments: object) -> Settings:
        """Put explicit values over these, checked like the rest; None leaves a setting as it is.

        Raises:
            SettingsError: anything is wrong.
        """
        draft = Draft()
        draft.values = {name: getattr(self, name) for name in SETTINGS}
        draft.origins = dict(self._origins)
        draft.warnings = list(self.warnings)
        draft.say("argument", arguments)
        return _finish(draft, None)

    def _shown(self, name: str) -> str:
        return display(SETTINGS[name], getattr(self, name), self.origin(name))


def load_settings(
    author: Mapping[str, object] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, object] | None = None,
    resolver: SecretResolver | None = None,
) -> Settings:
    """Layer defaults < `author` (the decorator) < file < environment < `arguments`.

    The file is `file`, else what QUEUE_RUNTIME_CONFIG names, else the first in the working
    directory of queue-runtime.toml, queue-runtime.yaml and queue-runtime.yml. `config.toml` and
    `config.yaml` are not searched: those names are shared, and another program's file would be
    read as ours. Its keys are the settings' names, at the root or in one `[queue-runtime]` table.

    An argument whose key is an option (`--max-deliveries`) may be the text that was typed.
    A text that starts with `secret://` is resolved by `resolver`.

    Raises:
        SettingsError: anything is wrong; the text has a line for each, with its source and fix.
        MissingExtraError: the file is YAML, and no YAML parser is installed.
    """
    environ = os.environ if environ is None else environ
    draft = Draft()
    draft.say("author", author)
    _say_file(draft, file, environ)
    draft.say_environment(environ)
    draft.say("argument", arguments)
    return _finish(draft, resolver)


def _say_file(
    draft: Draft, file: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> None:
    if file is None and not environ.get(VARIABLE) and not any(map(os.path.isfile, SEARCHED)):
        return
    from queue_runtime.config import file as files  # functions have none, and do not pay for it

    try:
        found = files.find(file, environ)
        for path in found[:1]:
            draft.say_file(path, files.read(path))
    except files.FileProblem as problem:
        draft.problem(str(problem))
        return
    for path in found[1:]:
        draft.warnings.append(f"file {path}: is not read, because {found[0]} is there; remove one")


def _finish(draft: Draft, resolver: SecretResolver | None) -> Settings:
    draft.resolve(resolver)
    draft.check()
    return Settings(draft)
