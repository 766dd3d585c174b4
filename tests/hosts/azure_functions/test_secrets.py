"""A Functions app with everything on, in the real worker: no error path shows a secret."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, DeadLetter, Message, Retry, queue_handler, register
from queue_runtime.clouds.azure_settlement import SettlementClient, SettlementMissingError
from queue_runtime.config import load_settings
from tests.hosts.aws_lambda.test_secrets import CASES, SECRET, fails
from tests.hosts.azure_functions.encoding import Sent
from tests.hosts.azure_functions.fake_host import FakeHost
from tests.observability.conftest import off, shown, spans  # noqa: F401 - fixtures
from tests.observability.shown import EVERYTHING_ON, Shown, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import azure.functions as func

    from tests.hosts.azure_functions.settlement_service import SettlementService

# The Service Bus SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@queue_handler
def does_as_told(message: Message[str]) -> None:
    _do(message)


@queue_handler
def does_all_as_told(batch: Batch[str]) -> None:
    for message in batch:
        try:
            _do(message)
        except Exception as error:
            batch.fail(message, error)


@queue_handler
async def is_never_done(body: str) -> None:
    await asyncio.Event().wait()


def _do(message: Message[str]) -> None:
    if message.body.startswith("broken"):
        raise RuntimeError(message.body)
    if message.body.startswith("later"):
        raise Retry("busy", after=30)
    if message.body.startswith("dead"):
        raise DeadLetter("no such customer")


class TellingHost(FakeHost):
    """Logs what the worker answers, as the host does."""

    told: Shown

    def _invoke(self, *arguments: Any) -> Any:
        response = super()._invoke(*arguments)
        self.told.errors.append(str(response))
        return response


class Worker:
    """Puts handlers on an app, and runs it."""

    def __init__(
        self,
        app: func.FunctionApp,
        folder: Path,
        service: SettlementService | None,
        told: Shown,
    ) -> None:
        self._app, self._folder, self._service, self._told = app, folder, service, told
        self._host: TellingHost | None = None

    def put(self, name: str, handler: Any, **options: Any) -> None:
        settings = load_settings(handler.definition.settings, environ={}, arguments=EVERYTHING_ON)
        said = {"queue": "orders", "settings": settings, **options}
        register(self._app, handler, name=name, connection="SB", **said)

    def invoke(self, name: str, *messages: Sent) -> list[str]:
        if self._host is None:
            self._host = TellingHost(self._folder, self._service, app=self._app)
            self._host.told = self._told
        return self._host.invoke(name, *messages).fates

    def close(self) -> None:
        if self._host is not None:
            self._host.close()


@pytest.fixture
def worker(
    app: func.FunctionApp,
    tmp_path: Path,
    service: SettlementService,
    shown: Shown,  # noqa: F811 - the fixture
) -> Iterator[Worker]:
    running = Worker(app, tmp_path, service, shown)
    yield running
    running.close()


def _sent(body: str, **fields: Any) -> Sent:
    return Sent(body, properties=attributes(), **fields)


@pytest.mark.parametrize("deliveries", [1, 9])
@pytest.mark.parametrize("sessions", [False, True])
def test_nothing_that_a_handler_does_shows_a_secret(
    sessions: bool,
    deliveries: int,
    worker: Worker,
    service: SettlementService,
    shown: Shown,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = {}
    for number, (handler, body) in enumerate(CASES):
        monkeypatch.setattr(handler.definition, "batch_order", "accept_repeats")
        worker.put(f"f{number}", handler, sessions=sessions)
        group = "s" if sessions else None
        sent[f"f{number}"] = _sent(body, session_id=group, delivery_count=deliveries)
    fates = {worker.invoke(name, message)[0] for name, message in sent.items()}
    assert fates >= {"completed", "abandoned", "dead-lettered"}
    entry = service.dead_letters.get(sent[f"f{_number_of(fails)}"].lock_token)
    assert entry is None if deliveries == 1 else SECRET in str(entry)
    retried = "to be retried" if deliveries == 1 else "failed on delivery 9 of 2"
    assert shown.hides_secrets(retried, "poison: ", "process orders", 'queue="orders"')


def _number_of(handler: Any) -> int:
    return [each for each, _ in CASES].index(handler)


def _no_service() -> str:
    raise SettlementMissingError("there is none")


FAULTS: dict[str, Any] = {
    "refused": None,
    "lock lost": None,
    "no service": _no_service,
    "no answer": lambda: "127.0.0.1:1",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("many", [False, True])
def test_no_settlement_that_fails_shows_a_secret(
    many: bool,
    fault: str,
    worker: Worker,
    service: SettlementService,
    shown: Shown,  # noqa: F811
) -> None:
    settlement = FAULTS[fault] and SettlementClient(FAULTS[fault])
    service.refuse = lambda method, token: fault == "refused"
    worker.put("f", does_all_as_told if many else does_as_told, settlement=settlement)
    sent = [_sent(f"{body} {SECRET}") for body in ("dead", "broken", "good")]
    service.lock_lost = {each.lock_token for each in sent} if fault == "lock lost" else set()
    lots = [sent] if many else [[each] for each in sent]
    fates = [fate for lot in lots for fate in worker.invoke("f", *lot)]
    assert fates[:2] == ["abandoned"] * 2
    assert shown.hides_secrets("InvocationFailedError", "to be retried")


@pytest.mark.parametrize(
    "connection",
    [
        None,
        SECRET,
        f"Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey={SECRET}",
        f"Endpoint=sb://127.0.0.1:1;SharedAccessKey={SECRET}",
        f"Endpoint=sb://127.0.0.1:1/,SharedAccessKeyName=n,SharedAccessKey={SECRET}",
        f"Endpoint=127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey={SECRET}",
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_no_copy_that_cannot_be_sent_shows_a_secret(
    many: bool,
    connection: str | None,
    worker: Worker,
    shown: Shown,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SB", raising=False)
    if connection is not None:
        development = ";UseDevelopmentEmulator=true" if "=" in connection else ""
        monkeypatch.setenv("SB", f"{connection}{development}")
    worker.put("f", does_all_as_told if many else does_as_told)
    assert worker.invoke("f", _sent(f"later {SECRET}", message_id="m")) == ["abandoned"]
    assert shown.hides_secrets("not delayed")


def test_what_the_deadline_interrupts_shows_no_secret(
    worker: Worker,
    shown: Shown,  # noqa: F811
) -> None:
    worker.put("f", is_never_done, timeout=0.2)
    assert worker.invoke("f", _sent(SECRET)) == ["abandoned"]
    assert shown.hides_secrets("the deadline interrupted it")
