"""The container over loopback HTTP, as far as the SDK asks for it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.cosmos.container import Container

KEY = "c2VjcmV0LWtleS1vZi1hLXRlc3Q="
DATABASE, COLLECTION = "runtime", "claims"


class CosmosServer:
    """One account with one container. `requests` counts what the SDK asked the container."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.requests: list[str] = []
        self.lose_replies = 0
        self.endpoint = ""

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Give status and JSON for one request."""
        path = path.rstrip("/") or "/"
        if path == "/":
            return 200, self._account()
        if path.endswith(f"/colls/{COLLECTION}") and method == "GET":
            return 200, {
                "id": COLLECTION,
                "_rid": "AAAAAAAAAAA=",
                "_self": "dbs/AAAAAA==/colls/AAAAAAAAAAA=/",
                "partitionKey": {"paths": ["/scope"], "kind": "Hash", "version": 2},
                "defaultTtl": -1,
            }
        if path.endswith("/pkranges"):
            whole = {"id": "0", "minInclusive": "", "maxExclusive": "FF", "parents": []}
            return 200, {"_rid": "AAAAAAAAAAA=", "PartitionKeyRanges": [whole], "_count": 1}
        if path.endswith("/docs") and method == "POST":
            return self._documents(headers, json.loads(body))
        return 404, {"code": "NotFound", "message": f"{method} {path}"}

    def _documents(self, headers: Any, body: Any) -> tuple[int, Any]:
        partition = json.loads(headers["x-ms-documentdb-partitionkey"])[0]
        if headers.get("x-ms-cosmos-is-batch-request", "").lower() == "true":
            self.requests.append("batch")
            results = self.container.batch(partition, body)
            failed = any(result["statusCode"] >= 400 for result in results)
            return (207 if failed else 200), results
        self.requests.append("query")
        parameters = {each["name"]: each["value"] for each in body["parameters"]}
        documents = self.container.query(partition, parameters)
        return 200, {"_rid": "AAAAAAAAAAA=", "Documents": documents, "_count": len(documents)}

    def _account(self) -> dict[str, Any]:
        here = [{"name": "Here", "databaseAccountEndpoint": self.endpoint}]
        return {
            "id": "test",
            "_rid": "test.documents.azure.com",
            "writableLocations": here,
            "readableLocations": here,
            "enableMultipleWriteLocations": False,
            "userReplicationPolicy": {"maxReplicasetSize": 4},
            "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
            "readPolicy": {},
            "queryEngineConfiguration": "{}",
        }


@contextmanager
def serving(container: Container) -> Iterator[CosmosServer]:
    """Serve on a free port until left."""
    server = CosmosServer(container)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            status, value = server.answer(
                self.command, self.path, self.headers, self.rfile.read(length)
            )
            if self.command == "POST" and server.lose_replies:
                server.lose_replies -= 1
                self.close_connection = True
                return
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.send_header("x-ms-session-token", "0:-1#1")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.endpoint = f"http://127.0.0.1:{http.server_port}/"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
