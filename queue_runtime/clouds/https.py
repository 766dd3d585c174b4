"""One small request for JSON over HTTPS, by the standard library alone."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 5.0
_LARGEST: Final = 1_000_000


class Answer:
    """What a server answered: its status, and the JSON object, empty where there is none."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status, self.body = status, body


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: it would take the token in the headers to another host."""

    def redirect_request(self, *_of_urllib: Any) -> None:
        """Refuse it; see the base class."""
        return


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    body: Mapping[str, object] | None = None,
    authorities: str | None = None,
) -> Answer:
    """Ask once, for at most a few seconds; any status is an answer.

    `authorities` is a file of certificates to trust instead of the system's.

    Raises:
        OSError: there was no answer.
    """
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, headers=dict(headers), method=method)  # noqa: S310 - ours
    opener = build_opener(_NoRedirects, HTTPSHandler(context=_trusting(authorities)))
    try:
        with opener.open(request, timeout=_SECONDS) as response:
            return Answer(response.status, _object(response.read(_LARGEST)))
    except HTTPError as error:
        with error:
            return Answer(error.code, _object(error.read(_LARGEST)))


def _trusting(authorities: str | None) -> Any:
    import ssl

    # The name by which the clouds' own SDKs are told, too.
    return ssl.create_default_context(cafile=authorities or os.environ.get("REQUESTS_CA_BUNDLE"))


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
