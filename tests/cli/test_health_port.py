"""The health port of real processes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.shell import Shell


def test_a_port_that_is_taken_is_one_sentence(shell: Shell) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell.run("poll", "handlers:take", "--queue", "local://q", "--health-port", port)
    assert done.returncode == 2
    assert f"the health port {port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
