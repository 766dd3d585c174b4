"""Loads the settings a process runs by: every layer, checked as a whole, each value traceable.

What most functions say (a queue's name, a region) is taken without the table of settings, whose
import would be most of what loading costs a cold start.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from queue_runtime.config.hot import DEFAULTS, PLAIN, SEARCHED, UNUSABLE, VARIABLE
from queue_runtime.config.origin import DEFAULT, Origin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any, Literal

    from queue_runtime.config.explain import Explanation
    from queue_runtime.config.layers import Draft
    from queue_runtime.config.secrets import Secret, SecretResolver

    Host = Literal["lambda", "functions", "poll"]


class Settings:
    """What a process runs by, read-only; `origin` and `explain` tell where each value came from.

    `warnings` are sentences for the log: nothing in them stops a start.
    """

    __slots__ = (*DEFAULTS, "_origins", "_secrets", "_shadowed", "warnings")

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
    azure_client_secret: Secret | None
    aws_region: str | None
    idempotency_password: Secret | None
    environment: str | None
    application: str | None
    name_template: str | None
    secret_seconds: float
    explain_at_start: bool
    warnings: list[str]
    _origins: dict[str, Origin]
    _secrets: Mapping[str, Secret]
    _shadowed: Mapping[str, list[tuple[Origin, Any]]]

    def __init__(
        self,
        values: Mapping[str, Any],
        origins: dict[str, Origin],
        warnings: list[str],
        secrets: Mapping[str, Secret],
        shadowed: Mapping[str, list[tuple[Origin, Any]]],
    ) -> None:
        put = object.__setattr__
        for name, value in values.items():
            put(self, name, value)
        put(self, "_origins", origins)
        put(self, "warnings", warnings)
        put(self, "_secrets", secrets)
        put(self, "_shadowed", shadowed)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are read-only: use replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"settings are read-only: {name} cannot be deleted")

    def __repr__(self) -> str:
        from queue_runtime.config.explain import shown_of

        said = (f"{name}={shown_of(self, name)}" for name in DEFAULTS if name in self._origins)
        return f"<Settings {' '.join(said) or 'all default'}>"

    def origin(self, name: str) -> Origin:
        """Tell which layer a setting's value came from, and by which key.

        Raises:
            KeyError: there is no such setting.
        """
        if name not in DEFAULTS:
            raise KeyError(name)
        return self._origins.get(name, DEFAULT)

    def shadowed(self, name: str) -> list[tuple[Origin, Any]]:
        """List what a setting's value replaced, with where it was said, the latest first."""
        return list(self._shadowed.get(name, ()))

    def secret(self, name: str) -> Secret | None:
        """Give a setting's text as a secret that is read again where a store keeps it."""
        from queue_runtime.config.secrets import Secret

        if name in self._secrets:
            return self._secrets[name]
        value = getattr(self, name)
        return value if value is None or isinstance(value, Secret) else Secret(str(value))

    @property
    def secrets(self) -> Mapping[str, Secret]:
        """What was read from stores, by the setting's name."""
        return self._secrets

    def explain(self) -> list[Explanation]:
        """Explain every setting: value, source, what it replaced, and where it has no effect."""
        from queue_runtime.config.explain import explained

        return explained(self)

    def unusable_on(
        self, host: Host, transport: str = "", *, but: Collection[str] = ()
    ) -> list[str]:
        """Say, a sentence each, what somebody set that has no effect on this host and transport.

        `transport` is sqs, servicebus or local; a function's follows from its host. `but` names
        settings that have an effect this time.
        """
        if UNUSABLE[host].isdisjoint(self._origins):
            return []
        from queue_runtime.config.explain import without_effect

        return without_effect(self, host, transport, but)

    def replace(self, **arguments: object) -> Settings:
        """Put explicit values over these, checked like the rest; None leaves a setting as it is.

        Raises:
            SettingsError: anything is wrong.
        """
        from queue_runtime.config.layers import Draft

        draft = Draft()
        draft.values = {name: getattr(self, name) for name in DEFAULTS}
        draft.origins = dict(self._origins)
        draft.warnings = list(self.warnings)
        draft.secrets = dict(self._secrets)
        draft.shadowed = {name: list(lines) for name, lines in self._shadowed.items()}
        draft.say("argument", arguments)
        return _finish(draft, None)


def load_settings(
    author: Mapping[str, object] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, object] | None = None,
    resolver: SecretResolver | None = None,
) -> Settings:
    """Layer defaults < `author` (the decorator) < file < environment < `arguments`.

    What names a queue (the file's `[queue.orders]`, a variable `QUEUE__ORDERS__CONCURRENCY`) goes
    over what is for the whole process, variables included, and under `arguments`. `[env.prod]` goes
    over the rest of the file where QUEUE_ENVIRONMENT is prod.

    The file is `file`, else what QUEUE_RUNTIME_CONFIG names, else the first in the working
    directory of queue-runtime.toml, queue-runtime.yaml and queue-runtime.yml, else config.toml,
    config.yaml or config.yml with a table `[queue-runtime]`.

    An argument whose key is an option (`--max-deliveries`) may be the text that was typed. A text
    that refers to a secret (`vault://…`, see `config.references`) is read where that is kept;
    `secret://` by `resolver`.

    Raises:
        SettingsError: anything is wrong; the text has a line for each, with its source and fix.
        MissingExtraError: the file is YAML, and no YAML parser is installed.
    """
    environ = os.environ if environ is None else environ
    if file is None and not arguments:
        plain = _plain(author or {}, environ)
        if plain is not None:
            return plain
    return _layered(author, file, environ, arguments, resolver)


def problems_of(author: Mapping[str, object]) -> list[str]:
    """Find what is wrong with what a decorator says of settings, each with its fix."""
    if _are_plain(author):
        return []
    from queue_runtime.config.layers import Draft

    draft = Draft()
    draft.say("author", author)
    return draft.problems


def _plain(author: Mapping[str, object], environ: Mapping[str, str]) -> Settings | None:
    """Load what needs no parser, no file and no check; None where anything else is said."""
    if not _are_plain(author):
        return None
    values, origins = dict(DEFAULTS), {}
    for name, value in author.items():
        if value is not None:
            values[name], origins[name] = value, Origin("author", name)
    ours = {variable for variables in PLAIN.values() for variable in variables}
    if any(variable not in ours and variable.startswith(_PREFIXES) for variable in environ):
        return None
    for name, variables in PLAIN.items():
        for variable in variables:
            if text := environ.get(variable, "").strip():
                if name in origins or not _is_plain(text):
                    return None
                values[name], origins[name] = text, Origin("environment", variable)
                break
    if any(map(os.path.isfile, SEARCHED)):
        return None
    return Settings(values, origins, [], {}, {})


# Of all others that we read, each begins with one of these.
_PREFIXES = ("QUEUE_", "AZURE_")


def _are_plain(author: Mapping[str, object]) -> bool:
    return all(v is None or (name in PLAIN and _is_plain(v)) for name, v in author.items())


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "://" not in value


def _layered(
    author: Mapping[str, object] | None,
    file: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    arguments: Mapping[str, object] | None,
    resolver: SecretResolver | None,
) -> Settings:
    from queue_runtime.config.layers import Draft

    draft, arguments = Draft(), dict(arguments or {})
    draft.say("author", author)
    _say_file(draft, file, environ)
    draft.say_environment(environ)
    named = (author or {}).get("queue"), arguments.get("--queue") or arguments.get("queue")
    draft.say_queue(environ, _queues(named[0], named[1] or draft.values["queue"]))
    draft.say("argument", arguments)
    draft.name_queues()
    return _finish(draft, resolver)


def _queues(*said: object) -> tuple[str, ...]:
    return tuple(each for each in said if isinstance(each, str))


def _say_file(
    draft: Draft, file: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> None:
    if file is None and not environ.get(VARIABLE) and not any(map(os.path.isfile, SEARCHED)):
        return
    from queue_runtime.config import file as files  # functions have none, and do not pay for it

    try:
        paths = files.find(file, environ)
        found = [(path, contents) for path in paths if (contents := files.read(path)) is not None]
    except files.FileProblem as problem:
        draft.problem(str(problem))
        return
    for _, contents in found[:1]:
        draft.say_file(contents, environ.get("QUEUE_ENVIRONMENT", "").strip())
    for path, _ in found[1:]:
        read = found[0][0]
        draft.warnings.append(f"file {path}: is not read, because {read} is there; remove one")


def _finish(draft: Draft, resolver: SecretResolver | None) -> Settings:
    draft.resolve(resolver)
    draft.check()
    return Settings(draft.values, draft.origins, draft.warnings, draft.secrets, draft.shadowed)


def refuse_rebinding(named: Iterable[tuple[str, object, Settings]]) -> None:
    """Refuse one QUEUE_NAME for several handlers that name queues of their own.

    Args:
        named: each handler's name, the queue that it says itself, and its settings.

    Raises:
        SettingsError: a process-wide value replaced a handler's own; the text has both.
    """
    from queue_runtime.config.explain import rebound

    rebound(list(named))
