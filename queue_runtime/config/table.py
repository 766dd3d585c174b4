"""The one table of settings: loading, checking, showing and the documentation all read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.config.services import BY_PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

WEEK: Final = 604_800  # seconds; more is a unit mistaken, and overflows the timers it would end in
YEAR: Final = 31_536_000
LONGEST_LOCK: Final = 43_200  # SQS takes no longer visibility timeout than 12 hours

VARIABLE: Final = "QUEUE_RUNTIME_CONFIG"  # names the file; all other variables are in the table
SEARCHED: Final = ("queue-runtime.toml", "queue-runtime.yaml", "queue-runtime.yml")
# Other programs have files of these names too: ours are those with a table of our name.
SHARED: Final = ("config.toml", "config.yaml", "config.yml")

_TRUTH: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_EVERYWHERE: Final[Mapping[str, str]] = {}
_SERVICE_BUS_ONLY: Final = "messages come from the Service Bus trigger alone"
_SQS_ONLY: Final = "messages come from the SQS event source alone"
_COMMANDS_ONLY: Final = "only the commands poll and invoke print them"
_NOT_SCRAPED: Final = "nobody can fetch metrics from a function; choose"
_XRAY: Final[Mapping[object, str]] = {"xray": "the X-Ray SDK records on Lambda only; choose otel"}
_POLL_ONLY: Final = {
    "lambda": "Lambda receives, and starts and stops processes, by itself",
    "functions": "the Functions host receives, and starts and stops processes, by itself",
}
_AT_ONCE: Final = {
    "servicebus": "Service Bus gives a message back at once; set QUEUE_DELAYED_RETRIES to delay it",
}
_AZURE_ONLY: Final = {
    "functions": "the host reads what register(connection=...) names: NAME__clientId and the like",
    "sqs": "AWS is asked, by the credentials that its SDK finds",
    "local": "a local queue asks no service",
}
_NO_BREAKER: Final = {
    "functions": "what is given back comes back at once, so it would only use up its deliveries",
}


class Setting:
    """One row: what a setting is called, what it takes and what it means.

    - `environment`: the variables that say it, first one first. Theirs is the guide's unit, which
      `plus` and `divisor` turn into ours; files, decorators and options write ours.
    - `unusable`: by place, why a value has no effect there: any value, or each of some. Places are
      hosts (lambda, functions, poll) and transports (sqs, servicebus, local).
    - `unless`: the switch that gives it an effect all the same.
    - `shared`: its variable is other software's too, so that one in vain is no mistake.
    - `per_process`: a table of one queue cannot say it.
    """

    __slots__ = (
        "above",
        "choices",
        "default",
        "divisor",
        "environment",
        "high",
        "kind",
        "low",
        "meaning",
        "name",
        "per_process",
        "plus",
        "secret",
        "shared",
        "unless",
        "unusable",
    )

    def __init__(
        self,
        name: str,
        environment: str,
        default: object,
        meaning: str,
        *,
        kind: type[object] = str,
        low: int = 0,
        above: bool = False,
        high: int | None = None,
        choices: tuple[str, ...] = (),
        plus: int = 0,
        divisor: int = 1,
        secret: bool = False,
        unusable: Mapping[str, str | Mapping[object, str]] = _EVERYWHERE,
        unless: str = "",
        shared: bool = False,
        per_process: bool = False,
    ) -> None:
        self.name = name
        self.environment = tuple(environment.split())
        self.default = default
        self.meaning = meaning
        self.kind = kind
        self.low, self.above, self.high = low, above, high
        self.choices = choices
        self.plus, self.divisor = plus, divisor
        self.secret = secret
        self.unusable, self.unless = unusable, unless
        self.shared, self.per_process = shared, per_process

    def unusable_on(self, place: str, value: object) -> str:
        """Say why a value has no effect on a host or transport; nothing where it has one."""
        why = self.unusable.get(place, "")
        return why if isinstance(why, str) else why.get(value, "")

    def parse(self, text: str) -> object:
        """Read what an operator typed (a variable, an option), in the unit it was typed in.

        Raises:
            ValueError: the text is no value of this kind.
        """
        if self.kind is bool:
            return _TRUTH.get(text.lower(), text)
        if self.kind is int:
            return int(text)
        return float(text) if self.kind is float else text

    def accept(self, value: object) -> object:
        """Give the value as attributes hold it: an int becomes the float that it stands for.

        Raises:
            ValueError: the value is of another type, or out of range.
            OverflowError: no float is that large.
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        # By exact type, because True is an int to isinstance and would be a concurrency of 1.
        if type(value) is not self.kind or not self._within(value):
            raise ValueError(self.name)
        return value

    def _within(self, value: object) -> bool:
        if isinstance(value, str):
            return value in self.choices if self.choices else bool(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        if value < self.low or (self.above and value == self.low):
            return False
        # Said this way round, NaN is refused too.
        return value <= (float("inf") if self.high is None else self.high)

    def in_our_unit(self, value: object) -> object:
        """Convert what the environment says: attempts after the first one, milliseconds."""
        if self.divisor != 1 and isinstance(value, float):
            return value / self.divisor
        return value + self.plus if self.plus and isinstance(value, int) else value

    def takes(self, *, environment: bool = False) -> str:
        """Say what to write, in the unit of the environment or in ours."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return _either(self.choices) if self.choices else "a text that is not empty"
        low, high = self._bounds(environment)
        noun = "a whole number" if self.kind is int else "a number"
        start = f"{noun} above {low}" if self.above else f"{noun} of {low} or more"
        return start if high is None else f"{start}, at most {high}"

    def _bounds(self, environment: bool) -> tuple[int, int | None]:
        plus, divisor = (self.plus, self.divisor) if environment else (0, 1)
        high = None if self.high is None else (self.high - plus) * divisor
        return (self.low - plus) * divisor, high


def _either(words: tuple[str, ...]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting(
            "provider",
            "QUEUE_PROVIDER",
            None,
            "The queue service, where the queue's URL does not say it.",
            choices=tuple(BY_PROVIDER),
            unusable={
                "lambda": dict.fromkeys(("azure", "local"), _SQS_ONLY),
                "functions": dict.fromkeys(("aws", "local"), _SERVICE_BUS_ONLY),
            },
        ),
        Setting("queue", "QUEUE_NAME", None, "The queue's name or URL."),
        Setting(
            "dead_letter",
            "QUEUE_DLQ_NAME",
            None,
            "Where dead-lettered messages go: a name, an ARN or a URL.",
            unusable={
                "servicebus": "Service Bus dead-letters into a sub-queue of its own",
                "local": "a local queue keeps its dead letters itself",
            },
        ),
        Setting(
            "receive_seconds",
            "QUEUE_RECEIVE_TIMEOUT_SECONDS",
            30.0,
            "How long one receive waits for messages.",
            kind=float,
            above=True,
            high=WEEK,
            unusable={
                "lambda": "the event source mapping receives, with a batching window of its own",
                "functions": "the Functions host receives, by its own clock",
            },
        ),
        Setting(
            "visibility_seconds",
            "QUEUE_VISIBILITY_TIMEOUT_SECONDS",
            300.0,
            "How long a received message is locked before it has to be renewed.",
            kind=float,
            above=True,
            high=LONGEST_LOCK,
            unusable={
                "lambda": "the queue's own visibility timeout counts",
                "servicebus": "the lock duration of the queue or subscription counts",
            },
        ),
        Setting(
            "max_deliveries",
            "QUEUE_MAX_RETRY_ATTEMPTS",
            4,
            "How often a message is delivered before it is dead-lettered, the first time included.",
            kind=int,
            low=1,
            high=2_000,  # as many as Service Bus counts
            plus=1,
        ),
        Setting(
            "backoff_seconds",
            "QUEUE_RETRY_BACKOFF_MS",
            1.0,
            "The longest delay before the first retry; it doubles from retry to retry.",
            kind=float,
            high=WEEK,
            divisor=1000,
            unusable=_AT_ONCE,
            unless="delayed_retries",
        ),
        Setting(
            "max_backoff_seconds",
            "QUEUE_MAX_BACKOFF_SECONDS",
            900.0,
            "The longest delay before any retry.",
            kind=float,
            high=WEEK,
            unusable=_AT_ONCE,
            unless="delayed_retries",
        ),
        Setting(
            "concurrency",
            "QUEUE_CONCURRENCY",
            10,
            "How many messages, or groups of messages, are handled at the same time.",
            kind=int,
            low=1,
            high=10_000,
            unusable={"functions": "host.json says how many calls run at the same time"},
        ),
        Setting(
            "in_flight",
            "QUEUE_IN_FLIGHT",
            200,
            "The most messages that a poller holds at once, running or waiting.",
            kind=int,
            low=1,
            high=120_000,  # as many as SQS lets a queue's consumers hold
            unusable=_POLL_ONLY,
        ),
        Setting(
            "reserve_seconds",
            "QUEUE_RESERVE_SECONDS",
            0.5,
            "Lambda and Functions: the time before the deadline that is kept for settling.",
            kind=float,
            high=WEEK,
            unusable={
                "poll": "a poller has no deadline; drain_seconds is its time after SIGTERM",
            },
        ),
        Setting(
            "drain_seconds",
            "QUEUE_DRAIN_SECONDS",
            25.0,
            "How long a poller lets running handlers finish after SIGTERM.",
            kind=float,
            high=WEEK,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "processes",
            "QUEUE_PROCESSES",
            1,
            "How many processes poll.",
            kind=int,
            low=1,
            high=256,
            per_process=True,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "handler_seconds",
            "QUEUE_HANDLER_SECONDS",
            0.0,
            "A poller's time limit for one call of the handler: an async one is cancelled and its "
            "message retried as TimeoutError; with a sync one the process is not ready, and is "
            "replaced where there are several. 0 sets none.",
            kind=float,
            high=WEEK,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "stuck_seconds",
            "QUEUE_STUCK_SECONDS",
            0.0,
            "After so long without a turn of the event loop a poller writes the stacks of all "
            "threads to stderr and is killed, its messages locked; 0 never does.",
            kind=float,
            per_process=True,
            high=WEEK,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "max_messages",
            "QUEUE_MAX_MESSAGES",
            0,
            "After receiving so many messages a poller's process ends cleanly, and is replaced "
            "where there are several; 0 sets no limit.",
            kind=int,
            high=1_000_000_000,
            per_process=True,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "max_memory_mb",
            "QUEUE_MAX_MEMORY_MB",
            0,
            "Above so many MiB of resident memory a poller's process ends cleanly, and is "
            "replaced where there are several; 0 sets no limit.",
            kind=int,
            high=100_000_000,
            per_process=True,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "delayed_retries",
            "QUEUE_DELAYED_RETRIES",
            False,
            "Service Bus: delay a retry by a scheduled copy instead of having it back at once.",
            kind=bool,
            unusable={
                "sqs": "SQS delays a retry by itself",
                "local": "a local queue delays a retry by itself",
            },
        ),
        Setting(
            "error_text",
            "QUEUE_DEAD_LETTER_ERROR_TEXT",
            True,
            "Put the exception's own text, cut to 1,024 characters, into a dead-letter entry.",
            kind=bool,
        ),
        Setting(
            "preload",
            "QUEUE_PRELOAD",
            None,
            "Load the AWS SDK while the function starts instead of when it is first needed.",
            choices=("init",),
            unusable={
                "functions": "the AWS SDK is not used there",
                "poll": "a poller loads what it needs when it starts",
            },
        ),
        Setting(
            "breaker_failures",
            "QUEUE_BREAKER_FAILURES",
            0,
            "How many failures in a row open the circuit breaker; 0 leaves it off.",
            kind=int,
            high=1_000_000,
            unusable=_NO_BREAKER,
        ),
        Setting(
            "breaker_seconds",
            "QUEUE_BREAKER_SECONDS",
            30.0,
            "How long the breaker stays open before it lets a message through again.",
            kind=float,
            above=True,
            high=WEEK,
            unusable=_NO_BREAKER,
        ),
        Setting(
            "breaker_successes",
            "QUEUE_BREAKER_SUCCESSES",
            3,
            "How many successes in a row close it.",
            kind=int,
            low=1,
            high=1_000_000,
            unusable=_NO_BREAKER,
        ),
        Setting(
            "idempotency",
            "QUEUE_IDEMPOTENCY",
            True,
            "Whether idempotent handlers tell repeated messages; off is for tests, then without a "
            "store.",
            kind=bool,
        ),
        Setting(
            "idempotency_store",
            "QUEUE_IDEMPOTENCY_STORE",
            None,
            "Where idempotent handlers keep their claims: memory://, sqlite:///file, "
            "dynamodb://table, redis://host/0 or cosmos://account/database/container.",
        ),
        Setting(
            "idempotency_retention_seconds",
            "QUEUE_IDEMPOTENCY_RETENTION_SECONDS",
            1_209_600.0,
            "How long it is kept that a message is done; 14 days, the longest that SQS keeps one.",
            kind=float,
            above=True,
            high=YEAR,
        ),
        Setting(
            "local_directory",
            "QUEUE_LOCAL_DIRECTORY",
            ".queue-runtime",
            "Where local:// queues keep their files.",
            unusable={
                "sqs": "only local:// queues are files",
                "servicebus": "only local:// queues are files",
            },
        ),
        Setting(
            "health_port",
            "QUEUE_HEALTH_PORT",
            0,
            "The port of a poller's health endpoints; 0 leaves them off.",
            kind=int,
            high=65_535,
            per_process=True,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "health_address",
            "QUEUE_HEALTH_ADDRESS",
            None,
            "The address that the health endpoints listen on, such as 127.0.0.1; none means "
            "every IPv4 and IPv6 address.",
            per_process=True,
            unusable=_POLL_ONLY,
        ),
        Setting(
            "tracebacks",
            "QUEUE_TRACEBACKS",
            False,
            "poll and invoke: print each error of a handler whole, with its text, which may show a "
            "body; for development.",
            kind=bool,
            unusable={"lambda": {True: _COMMANDS_ONLY}, "functions": {True: _COMMANDS_ONLY}},
        ),
        Setting(
            "logs",
            "QUEUE_LOGS",
            None,
            "Write log lines as JSON, with the message's fields on the handler's own lines too.",
            choices=("json",),
            per_process=True,
        ),
        Setting(
            "info_lines",
            "QUEUE_INFO_LINES",
            0,
            "The most INFO lines about messages in a second, more are left out; 0 writes them all.",
            kind=int,
            high=1_000_000,
            per_process=True,
        ),
        Setting(
            "metrics",
            "QUEUE_METRICS",
            None,
            "Where metrics go. A poller's health port has them for Prometheus all the same.",
            choices=("prometheus", "otlp", "emf", "azure-monitor"),
            per_process=True,
            unusable={
                "lambda": {"prometheus": f"{_NOT_SCRAPED} emf or otlp"},
                "functions": {
                    "prometheus": f"{_NOT_SCRAPED} azure-monitor or otlp",
                    "emf": "CloudWatch does not read the lines of a Functions app",
                },
                "poll": {
                    "emf": "EMF is for functions, and written at the end only; choose prometheus"
                },
            },
        ),
        Setting(
            "tracing",
            "QUEUE_TRACING",
            None,
            "What records spans: OpenTelemetry, or on Lambda the X-Ray SDK.",
            choices=("otel", "xray"),
            unusable={"functions": _XRAY, "poll": _XRAY},
        ),
        Setting(
            "semconv",
            "QUEUE_SEMCONV",
            "current",
            "The names of span attributes: OpenTelemetry's own, the operations guide's, or both.",
            choices=("current", "guide", "both"),
        ),
        Setting(
            "trace_parent",
            "QUEUE_TRACE_PARENT",
            False,
            "Let a message's process span be a child of its producer's span, not only linked.",
            kind=bool,
        ),
        Setting(
            "flush_seconds",
            "QUEUE_FLUSH_SECONDS",
            0.2,
            "Lambda: the most that sending spans and metrics may take before the reply.",
            kind=float,
            high=WEEK,
            unusable={
                "functions": "the worker outlives its invocations, and sends in the background",
                "poll": "a poller sends in the background, and at its end",
            },
        ),
        Setting(
            "connection_string",
            "AZURE_SERVICE_BUS_CONNECTION_STRING",
            None,
            "Service Bus by key; left out, a managed or workload identity signs in.",
            secret=True,
            unusable={
                "functions": "register(connection=...) names the app setting to connect by",
                "sqs": "only Service Bus is reached by it",
                "local": "only Service Bus is reached by it",
            },
        ),
        Setting(
            "azure_client_id",
            "AZURE_CLIENT_ID",
            None,
            "The identity that signs in to Azure, where it is not the system-assigned one.",
            unusable=_AZURE_ONLY,
            shared=True,
        ),
        Setting(
            "azure_tenant_id",
            "AZURE_TENANT_ID",
            None,
            "That identity's tenant.",
            unusable=_AZURE_ONLY,
            shared=True,
        ),
        Setting(
            "azure_client_secret",
            "AZURE_CLIENT_SECRET",
            None,
            "The secret of an app that signs in to Azure, with its client and tenant id.",
            secret=True,
            unusable=_AZURE_ONLY,
            shared=True,
        ),
        Setting(
            "aws_region",
            "AWS_REGION AWS_DEFAULT_REGION",
            None,
            "The queue's region, where its URL or ARN does not say it.",
            unusable={
                "servicebus": "the namespace says where it is",
                "local": "a local queue is on this machine",
            },
            shared=True,
        ),
        Setting(
            "idempotency_password",
            "QUEUE_IDEMPOTENCY_PASSWORD",
            None,
            "The password of a Redis store, where its URL has none.",
            secret=True,
        ),
        Setting(
            "environment",
            "QUEUE_ENVIRONMENT",
            None,
            "Which environment this is, such as prod; chooses the file's table [env.prod].",
            per_process=True,
        ),
        Setting(
            "application",
            "QUEUE_APPLICATION",
            None,
            "The application's name, for the template of queue names.",
            per_process=True,
        ),
        Setting(
            "name_template",
            "QUEUE_NAME_TEMPLATE",
            None,
            "Makes queue names of what decorators and the file say, such as "
            "{environment}-{application}-{purpose}.",
            per_process=True,
        ),
        Setting(
            "secret_seconds",
            "QUEUE_SECRET_SECONDS",
            300.0,
            "How long a secret from a store is used before it is read there again.",
            kind=float,
            low=10,
            high=WEEK,
            per_process=True,
        ),
        Setting(
            "explain_at_start",
            "QUEUE_EXPLAIN",
            False,
            "Log every setting with its value and its source, once, at the start.",
            kind=bool,
            per_process=True,
        ),
    )
}


def shown(value: object) -> str:
    """Write a value the way an operator would; for secrets, redact first."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def settings_reference() -> list[tuple[str, str, str, str, str]]:
    """List name, environment, default, what it takes and meaning, for the documentation's table."""
    return [
        (
            setting.name,
            _variables(setting),
            shown(setting.default),
            setting.takes(),
            setting.meaning,
        )
        for setting in SETTINGS.values()
    ]


def _variables(setting: Setting) -> str:
    names = ", then ".join(setting.environment)
    if setting.plus:
        return f"{names} (value + {setting.plus})"
    return f"{names} (value / {setting.divisor})" if setting.divisor != 1 else names
