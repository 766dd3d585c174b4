"""A Functions host that drives the real worker library, and settles what the worker leaves."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import azure_functions_runtime as runtime
from azure_functions_runtime.bindings import meta

from tests.hosts.azure_functions import encoding
from tests.hosts.azure_functions.protocol import worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.hosts.azure_functions.encoding import Sent
    from tests.hosts.azure_functions.settlement_service import SettlementService

APP = "function_app"
TRACE_PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@dataclass
class Invocation:
    """What one invocation came to: each message's fate, and the worker's answer."""

    fates: list[str]
    succeeded: bool
    error: str


class IndexingError(Exception):
    """The worker could not index the app, so that no function of it runs."""


class FakeHost:
    """Indexes an app, and invokes its functions with payloads as the real host encodes them.

    Args:
        folder: of the app. Its function_app.py is imported, unless `app` is given.
        service: the Settlement service, or None where the host has none.
        app: an app that was made in the test.
        auto_complete: what host.json says, over the trigger's own word.
    """

    def __init__(
        self,
        folder: Path,
        service: SettlementService | None,
        *,
        app: Any = None,
        auto_complete: bool | None = None,
    ) -> None:
        self._service = service
        self._auto_complete = auto_complete
        self._loop = asyncio.new_event_loop()
        self.functions: dict[str, dict[str, Any]] = {}
        self._ids: dict[str, str] = {}
        if app is not None:
            (folder / f"{APP}.py").touch()
            module = ModuleType(APP)
            module.app = app  # type: ignore[attr-defined]
            sys.modules[APP] = module
        # The worker keeps what it found out at the first app for all of the process.
        meta._DEFERRED_BINDING_REGISTRY_LOADED = False
        runtime.start_threadpool_executor()
        try:
            self._index(folder)
        except IndexingError:
            self.close()
            raise

    def invoke(self, function: str, *messages: Sent) -> Invocation:
        """Invoke a function for messages, and settle what is left by the host's own rules."""
        binding = self.functions[function]
        if self._service:
            self._service.begin(message.lock_token for message in messages)
        response = self._invoke(function, binding, messages)
        succeeded = response.result.status == worker.StatusResult.Success
        settled = dict(self._service.fates) if self._service else {}
        if self._service:
            self._service.end()
        left = self._fate_of_the_rest(binding, succeeded)
        return Invocation(
            [settled.get(message.lock_token, left) for message in messages],
            succeeded,
            response.result.exception.message,
        )

    def close(self) -> None:
        """End the worker's threads and loop."""
        runtime.stop_threadpool_executor()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        sys.modules.pop(APP, None)

    def _fate_of_the_rest(self, binding: dict[str, Any], succeeded: bool) -> str:
        if not succeeded:
            return "abandoned"
        says = binding.get("autoCompleteMessages", True)
        auto = says if self._auto_complete is None else self._auto_complete
        return "completed" if auto else "left locked"

    def _index(self, folder: Path) -> None:
        request = worker.StreamingMessage(
            worker_init_request=worker.WorkerInitRequest(function_app_directory=str(folder))
        )
        sys.path.insert(0, str(folder))
        try:
            answer = self._run(runtime.worker_init_request, request)
            if answer.result.status != worker.StatusResult.Success:
                raise IndexingError(answer.result.exception.message)
            answer = self._run(runtime.functions_metadata_request, request)
        finally:
            sys.path.remove(str(folder))
        for found in answer.function_metadata_results:
            self.functions[found.name] = json.loads(found.raw_bindings[0])
            self._ids[found.name] = found.function_id
            load = worker.FunctionLoadRequest(function_id=found.function_id)
            self._run(
                runtime.function_load_request, worker.StreamingMessage(function_load_request=load)
            )

    def _invoke(self, function: str, binding: dict[str, Any], messages: Sequence[Sent]) -> Any:
        data, metadata = _encoded(binding, messages)
        invocation = worker.InvocationRequest(
            invocation_id=str(uuid4()),
            function_id=self._ids[function],
            input_data=[worker.ParameterBinding(name=binding["name"], data=data)],
            trigger_metadata=metadata,
            trace_context=worker.RpcTraceContext(trace_parent=TRACE_PARENT),
        )
        return self._run(
            runtime.invocation_request, worker.StreamingMessage(invocation_request=invocation)
        )

    def _run(self, event: Any, request: Any) -> Any:
        properties = {"host": "127.0.0.1", "protos": worker}
        return self._loop.run_until_complete(
            event(SimpleNamespace(request=request, properties=properties))
        )


def _encoded(binding: dict[str, Any], messages: Sequence[Sent]) -> tuple[Any, dict[str, Any]]:
    binary = binding.get("dataType", "").lower() == "binary"
    whole = binding.get("properties", {}).get("SupportsDeferredBinding")
    if binding.get("cardinality", "one").lower() == "one":
        (message,) = messages
        return encoding.whole_one(message) if whole else encoding.single(message, binary=binary)
    if whole:
        return encoding.whole(messages)
    return encoding.batch(messages, binary=binary)
