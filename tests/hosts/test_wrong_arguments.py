"""Each host refuses, where it is made, what it cannot run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import HandlerDefinitionError, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.hosts.poller import Poller
from queue_runtime.testing import deliver
from queue_runtime.transports import open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@queue_handler
def take(body: str) -> None: ...


def plain(body: str) -> None: ...


@pytest.fixture(params=["lambda", "functions", "poll"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    settings = load_settings(environ={}, arguments={"local_directory": str(tmp_path)})
    transport = open_transport("local://q", settings=settings)
    made: dict[str, Callable[..., Any]] = {
        "lambda": LambdaHost,
        "functions": lambda it, **more: FunctionsHost(it, Source("orders", "BUS"), **more),
        "poll": lambda it, **more: Poller(it, transport, **more),
    }
    yield made[request.param]
    asyncio.run(transport.aclose())


def test_a_function_that_is_not_decorated_is_refused(host: Callable[..., Any]) -> None:
    with pytest.raises(HandlerDefinitionError, match="plain is a function, not a handler"):
        host(plain)


def test_settings_that_nobody_checked_are_refused(host: Callable[..., Any]) -> None:
    with pytest.raises(HandlerDefinitionError, match=r"load_settings\(arguments"):
        host(take, settings={"concurrency": -1})


def test_deliver_refuses_what_is_no_handler() -> None:
    with pytest.raises(HandlerDefinitionError, match="plain is a function, not a handler"):
        deliver(plain, "x")  # type: ignore[arg-type]
