"""Runs a folder as AWS Lambda would: the real Python runtime under AWS's own emulator."""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
_INVOKE: Final = "/2015-03-31/functions/function/invocations"
_RUNTIME: Final = ("awslambdaric", "simplejson", "snapshot_restore_py")
_INVOCATION_ENDED: Final = re.compile(rb"^REPORT RequestId|Invoke DONE failed", re.MULTILINE)
_START_TRIES: Final = 5
_SECONDS_TO_ANSWER: Final = 10.0


class EmulatorMissingError(RuntimeError):
    """The Runtime Interface Emulator is not installed here."""


class EmulatorError(RuntimeError):
    """The emulator did not do its own part; says nothing about the function."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an invocation came to.

    `raw` is what Lambda would hand to the caller, or judge if the caller is an event source.
    `failed` is Lambda's "function error": an exception, a timeout, a runtime that ended.
    """

    status: int
    raw: bytes
    logs: str

    @property
    def payload(self) -> Any:
        """The answer, from JSON; the text itself where it is none, as a timeout's."""
        try:
            return json.loads(self.raw)
        except ValueError:
            return self.raw.decode(errors="replace")

    @property
    def error_type(self) -> str | None:
        """The class name of the exception that ended the invocation, if one did."""
        payload = self.payload
        return payload.get("errorType") if isinstance(payload, dict) else None

    @property
    def timed_out(self) -> bool:
        """Whether Lambda ended it, since its time was over."""
        return self.raw.startswith(b"Task timed out after")

    @property
    def failed(self) -> bool:
        """Whether it is a function error: an event source then keeps the whole batch."""
        return self.status != 200 or self.timed_out or self.error_type is not None


def find_emulator() -> Path:
    """Find the emulator's binary, which is a part of the SAM CLI's wheel.

    Raises:
        EmulatorMissingError: it is not there; says how to get it.
    """
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    configured = os.environ.get("QUEUE_RUNTIME_RIE")
    if configured:
        candidates: Iterable[Path] = [Path(configured)]
    else:
        candidates = (ROOT / ".tools" / "sam").glob(
            f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
        )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise EmulatorMissingError(
        f"AWS's Runtime Interface Emulator is not at {configured or '.tools/sam'}: "
        "run `make setup`, which installs it, or let QUEUE_RUNTIME_RIE name its binary"
    )


class LambdaEmulator:
    """One execution environment: a runtime that is kept between invocations, and started anew.

    The runtime sees the standard library, `task_root`, `layers` and AWS's runtime client, and
    nothing else of the environment that the tests run in.

    Args:
        task_root: what /var/task is on Lambda.
        handler: as in the function's configuration.
        env: the function's environment variables.
        timeout: seconds, whole ones as in the function's configuration.
        memory: MB; only told to the function, not enforced.
        layers: folders that come after `task_root` on the path, as /opt/python does.
    """

    def __init__(
        self,
        task_root: Path,
        handler: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: int = 10,
        memory: int = 1769,
        layers: Sequence[Path] = (),
    ) -> None:
        self._binary = find_emulator()
        self._task_root = task_root
        self._handler = handler
        self._folder = tempfile.TemporaryDirectory(prefix="lambda-")
        self._log_path = Path(self._folder.name) / "log"
        self._timeout = timeout
        self._env = self._environment(env or {}, memory, layers)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _ in range(_START_TRIES):
            if self._start():
                return self
            self._stop()
        raise EmulatorError(f"the emulator did not start:\n{self._log_path.read_text()}")

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._folder.cleanup()

    def invoke(self, event: Any) -> Reply:
        """Invoke the function and wait for its answer; one at a time, as an environment does."""
        logged = self._log_path.stat().st_size
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=self._timeout + _SECONDS_TO_ANSWER
        )
        try:
            connection.request("POST", _INVOKE, json.dumps(event).encode())
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        return Reply(response.status, raw, self._logs_since(logged))

    def _environment(
        self, env: Mapping[str, str], memory: int, layers: Sequence[Path]
    ) -> dict[str, str]:
        runtime = Path(self._folder.name) / "runtime"
        _link_runtime(runtime)
        path = [self._task_root, *layers, runtime]
        return {
            "PATH": os.environ["PATH"],
            "HOME": self._folder.name,
            "TZ": ":UTC",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONDONTWRITEBYTECODE": "1",  # /var/task is read-only
            "LAMBDA_TASK_ROOT": str(self._task_root),
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self._timeout),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **env,
        }

    def _start(self) -> bool:
        # Another process may take a port between the choice and the use of it: hence the tries.
        self._port, api_port = _free_ports(2)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    *("--log-level", "error"),
                    *("--runtime-api-address", f"127.0.0.1:{api_port}"),
                    *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
                    # Without `site`, the tests' own environment is not on the path.
                    *(sys.executable, "-S", "-m", "awslambdaric", self._handler),
                ],
                env=self._env,
                cwd=self._task_root,
                stdout=log,
                stderr=log,
            )
        return self._listens()

    def _listens(self) -> bool:
        assert self._process is not None
        deadline = monotonic() + _SECONDS_TO_ANSWER
        while self._process.poll() is None and monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                sleep(0.01)
            else:
                return True
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()  # the emulator ends its runtime then
        try:
            process.wait(_SECONDS_TO_ANSWER)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _logs_since(self, offset: int) -> str:
        """Wait for the line that ends an invocation's log, which comes after the answer."""
        deadline = monotonic() + _SECONDS_TO_ANSWER
        while True:
            with self._log_path.open("rb") as log:
                log.seek(offset)
                text = log.read()
            if _INVOCATION_ENDED.search(text) or monotonic() > deadline:
                return text.decode(errors="replace")
            sleep(0.005)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _link_runtime(folder: Path) -> None:
    """Make a folder with AWS's runtime client and what it needs, out of our own environment."""
    folder.mkdir()
    for name in _RUNTIME:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
            if not top.endswith(".dist-info") and top != "__pycache__":
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
