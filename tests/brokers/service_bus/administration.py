"""The management API: HTTPS on the AMQP port, which tells how many messages an entity has."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from .entities import MessageState
from .errors import BrokerError, Condition
from .faults import Point
from .journal import Kind
from .management import status_of
from .queues import Queue
from .security import MANAGE, verify
from .tls import TlsStream

if TYPE_CHECKING:
    from .connection import Connection, Respond
    from .namespace import Entity

_END: Final = b"\r\n\r\n"
_LONGEST_HEAD: Final = 16_384
_EVERYTHING: Final = 2**31
_ATOM: Final = "{http://www.w3.org/2005/Atom}"
_CONNECT: Final = "{http://schemas.microsoft.com/netservices/2010/10/servicebus/connect}"
_COUNTS: Final = "{http://schemas.microsoft.com/netservices/2011/06/servicebus}"


class Request(NamedTuple):
    """What is asked of which entity; `token` is empty where none was shown."""

    method: str
    path: str
    token: str


class Administration:
    """Answers the requests of one connection, one after the other."""

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._hub = connection.hub
        self._tls = TlsStream(context)
        self._text = b""

    def receive(self, ciphertext: bytes) -> None:
        """Takes bytes from the client; one that breaks off, or never ends, is cut."""
        try:
            self._text += self._tls.feed(ciphertext)
        except ssl.SSLError:
            self._connection.abort()
            return
        self._connection.write(self._tls.leaving())
        while _END in self._text:
            head, _, self._text = self._text.partition(_END)
            self._answer(_parse(head.decode("latin-1")))
        if len(self._text) > _LONGEST_HEAD:
            self._connection.abort()

    def _answer(self, request: Request) -> None:
        self._connection.perform(
            Point.ADMINISTRATION,
            request.path,
            request.method,
            lambda: self._look_up(request),
            lambda condition, text: self._refuse(request, status_of(condition), text),
        )

    def _look_up(self, request: Request) -> Respond:
        self._authorize(request)
        if request.method != "GET":
            raise BrokerError(Condition.NOT_IMPLEMENTED, f"{request.method} is not modelled.")
        content = _entry(request.path, self._hub.namespace.find(request.path))
        return lambda: self._send(request, HTTPStatus.OK, content)

    def _authorize(self, request: Request) -> None:
        if not self._hub.check_tokens:
            return
        now = self._hub.clock.unmoved()
        if MANAGE not in verify(request.token, request.path, self._hub.policies, now):
            text = "Manage,EntityRead claims required for this operation."
            raise BrokerError(Condition.UNAUTHORIZED, text)

    def _refuse(self, request: Request, status: int, text: str) -> None:
        error = ElementTree.Element("Error")
        ElementTree.SubElement(error, "Code").text = str(status)
        ElementTree.SubElement(error, "Detail").text = text
        self._send(request, status, ElementTree.tostring(error))

    def _send(self, request: Request, status: int, content: bytes) -> None:
        self._hub.journal.record(
            Kind.ADMINISTRATION,
            request.path,
            connection=self._connection.number,
            detail=f"{request.method} {status}",
        )
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            "Content-Type: application/xml; charset=utf-8\r\n"
            f"Content-Length: {len(content)}"
        )
        self._tls.seal(head.encode() + _END + content)
        self._connection.write(self._tls.leaving())


def _parse(head: str) -> Request:
    line, *fields = head.split("\r\n")
    method, _, target = line.partition(" ")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    path = unquote(urlsplit(target.partition(" ")[0]).path).strip("/")
    return Request(method, path, headers.get("authorization", ""))


def _entry(path: str, entity: Entity) -> bytes:
    kind, counts = _described(path, entity)
    entry = ElementTree.Element(f"{_ATOM}entry")
    ElementTree.SubElement(entry, f"{_ATOM}title", type="text").text = path
    content = ElementTree.SubElement(entry, f"{_ATOM}content", type="application/xml")
    description = ElementTree.SubElement(content, f"{_CONNECT}{kind}")
    details = ElementTree.SubElement(description, f"{_CONNECT}CountDetails")
    for name in ("Active", "DeadLetter", "Scheduled", "Transfer", "TransferDeadLetter"):
        child = ElementTree.SubElement(details, f"{_COUNTS}{name}MessageCount")
        child.text = str(counts.get(name, 0))
    return ElementTree.tostring(entry)


def _described(path: str, entity: Entity) -> tuple[str, dict[str, int]]:
    if not isinstance(entity, Queue):
        return "TopicDescription", {"Scheduled": entity.scheduled}
    kind = "SubscriptionDescription" if "/Subscriptions/" in entity.name else "QueueDescription"
    if entity.dead_letters is None:
        text = f"'{path}' is a sub-queue: its messages are counted with their queue."
        raise BrokerError(Condition.NOT_FOUND, text)
    stored = entity.peek(0, _EVERYTHING)
    scheduled = sum(each.state is MessageState.SCHEDULED for each in stored)
    dead_letters = len(entity.dead_letters.peek(0, _EVERYTHING))
    active = len(stored) - scheduled
    return kind, {"Active": active, "Scheduled": scheduled, "DeadLetter": dead_letters}
