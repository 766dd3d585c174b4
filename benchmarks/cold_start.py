"""A first invocation under the real Lambda runtime client, against a plain function's."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.paired import Figure, figure
from queue_runtime.testing import sqs_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROOT = Path(__file__).resolve().parents[1]
_ROUNDS = 11

PLAIN = """
import json
def handler(event, context):
    failures = []
    for record in event["Records"]:
        try:
            json.loads(record["body"])
        except Exception:
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
"""

OURS = """
from queue_runtime import queue_handler
@queue_handler(queue="orders")
def handler(order: dict) -> None:
    pass
"""

POWERTOOLS = """
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor, EventType, process_partial_response)
processor = BatchProcessor(event_type=EventType.SQS)
def record_handler(record):
    record.json_body
def handler(event, context):
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context)
"""


def figures() -> Iterator[Figure]:
    """Measure CPU milliseconds from the process's start to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        yield _compare(Path(folder) / "bytecode", OURS, limit=1.25, bytecode=True)
        yield _compare(Path(folder) / "source", OURS, limit=1.5, bytecode=False)
        yield _compare(Path(folder) / "peer", POWERTOOLS, limit=None, bytecode=True)


def _compare(folder: Path, program: str, *, limit: float | None, bytecode: bool) -> Figure:
    pairs = first_answers(folder, program, PLAIN, bytecode=bytecode)
    what = "Powertools batch" if program is POWERTOOLS else "sync dict handler"
    with_bytecode = "with bytecode" if bytecode else "without bytecode"
    return figure(f"cold start, {what} / plain function, {with_bytecode}", pairs, "ms", limit)


def first_answers(
    folder: Path, ours: str, theirs: str, *, bytecode: bool = True, packages: Sequence[str] = ()
) -> list[tuple[float, float]]:
    """Start two programs in turn, and give the CPU milliseconds of each one's first answer."""
    _copy(_ROOT / "queue_runtime", folder)
    for module in ("awslambdaric", "simplejson", "snapshot_restore_py", *packages):
        # The function's folder has its own, so that bytecode is there for all of it or for none.
        _copy(Path(importlib.import_module(module).__file__ or ""), folder)
    (folder / "ours.py").write_text(ours)
    (folder / "theirs.py").write_text(theirs)
    if bytecode:
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
             str(folder)],
            check=True,
        )  # fmt: skip
    return [
        (_first_answer(folder, "ours.handler"), _first_answer(folder, "theirs.handler"))
        for _ in range(_ROUNDS)
    ]


def _copy(module: Path, folder: Path) -> None:
    if module.name == "__init__.py":
        module = module.parent
    if module.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(module, folder / module.name, ignore=ignored)
    else:
        shutil.copy(module, folder)


class _RuntimeApi(BaseHTTPRequestHandler):
    """The two calls of Lambda's runtime API that a first invocation makes."""

    event = json.dumps(sqs_event(*['{"id": 1}'] * 10)).encode()
    answered: threading.Event
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.answered.is_set():
            self.rfile.read(1)  # there is no second event: the process is ended while it waits
            return
        self.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": "00000000-0000-4000-8000-000000000000",
            "Lambda-Runtime-Deadline-Ms": "99999999999999",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:f:o",
            "Content-Type": "application/json",
            "Content-Length": str(len(self.event)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if not self.path.endswith("/response") or b"batchItemFailures" not in body:
            raise SystemExit(f"the function failed: {self.path} {body[:500]!r}")
        self.answered.set()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        # The process is ended while it waits for a second event.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _first_answer(folder: Path, handler: str) -> float:
    class Api(_RuntimeApi):
        answered = threading.Event()

    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", "awslambdaric", handler],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "LAMBDA_TASK_ROOT": str(folder),
            "PYTHONPATH": str(folder),
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        if not Api.answered.wait(30):
            raise SystemExit(f"{handler} did not answer in 30 s")
        return _cpu_milliseconds(process.pid)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def _cpu_milliseconds(pid: int) -> float:
    # Nanoseconds on the CPU; /proc/PID/stat would only count in hundredths of a second.
    on_cpu = Path(f"/proc/{pid}/schedstat").read_text().split()[0]
    return int(on_cpu) / 1e6
