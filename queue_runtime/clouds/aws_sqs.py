"""The SQS clients of a process that polls, whose long polls can be ended from outside."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.clouds.aws import aws_client, new_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.clouds.aws_http import DirectHttp

# What a long poll may last beyond its wait, which is 20 s at most.
_POLL_SECONDS: Final = 30.0
_CALL_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 2.0


class SqsClients:
    """A client for long polls and one for everything else, both of one session.

    Neither retries: the poller does, which knows how long a message's lock still lives.

    Args:
        region: None takes the one of the SDK's own configuration.
        endpoint_url: where the queue's URL has a host that is not AWS's; else the SDK finds it.
    """

    def __init__(self, region: str | None, *, endpoint_url: str | None = None) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._lock = RLock()
        self._session: Any = None
        self._made: dict[str, Any] = {}
        self._lines: list[DirectHttp] = []
        self._polls: list[DirectHttp] = []

    @property
    def region(self) -> str | None:
        """The region, as far as anything says it.

        Raises:
            MissingExtraError: the AWS SDK is not installed.
        """
        if self._region is None:
            with self._lock:
                self._region = self._open_session().get_config_variable("region")
        return self._region

    @property
    def receiving(self) -> Any:
        """The client for long polls, whose requests `interrupt` ends."""
        return self._client("receiving", self._make_receiving)

    @property
    def calling(self) -> Any:
        """The client for requests that are answered at once."""
        return self._client("calling", lambda: self._make(self.region, _CALL_SECONDS))

    def in_region(self, region: str) -> Any:
        """Give a client for a region, such as the dead-letter queue's."""
        if region == self.region:
            return self.calling
        return self._client(region, lambda: self._make(region, _CALL_SECONDS))

    def renew(self) -> None:
        """Forget credentials that were refused: a file or variable may have new ones by now."""
        with self._lock:
            self._session = None
            self._made = {}
            self._lines = [lines for lines in self._lines if not lines.retire()]
            self._polls = [lines for lines in self._polls if lines in self._lines]

    def interrupt(self, thread: int, politely: bool) -> None:
        """End the long poll that a thread waits for; see `DirectHttp.interrupt`."""
        for lines in self._polls:
            lines.interrupt(thread, politely=politely)

    def close(self) -> None:
        """Close all connections; they are idle."""
        for client in self._made.values():
            client.close()
        for lines in self._lines:
            lines.close()

    def _client(self, name: str, make: Callable[[], Any]) -> Any:
        client = self._made.get(name)
        if client is None:
            with self._lock:
                client = self._made.get(name) or make()
                self._made[name] = client
        return client

    def _open_session(self) -> Any:
        if self._session is None:
            self._session = new_session("sqs")
        return self._session

    def _make_receiving(self) -> Any:
        client = self._make(self.region, _POLL_SECONDS)
        self._polls.append(self._lines[-1])
        return client

    def _make(self, region: str | None, read_timeout: float) -> Any:
        session = self._open_session()
        client = aws_client(
            "sqs",
            region,
            read_timeout=read_timeout,
            attempts=1,
            endpoint_url=self._endpoint_url,
            session=session,
        )
        from queue_runtime.clouds.aws_http import DirectHttp

        lines = DirectHttp(
            ca_bundle=session.get_config_variable("ca_bundle"),
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_timeout,
        )
        lines.attach(client)
        self._lines.append(lines)
        return client
