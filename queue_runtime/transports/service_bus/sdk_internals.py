"""Every private name of azure-servicebus that is used here, one function each.

The SDK (7.15) has no public way to end a poll early, to take back what a poll asked for, or to open
a broken connection once for all requests. Its private names may change with any release, so each is
looked for when a receiver has been opened. Where one is missing, a sentence is logged once, and the
SDK's own way remains: that costs time or requests, but no message.

`receiver` is the SDK's asyncio `ServiceBusReceiver`, `client` the AMQP client beneath.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence


class PrivateName(NamedTuple):
    """A name of the SDK's, the object that has it, and how things are without."""

    owner: str
    name: str
    without: str


_SLOW_POLLS: Final = "a poll lasts a quarter of a second, so that it costs more requests"
_REOPENED: Final = "each request opens a broken connection by itself"
_PUSHED: Final = "messages may be locked for up to 5 s between two polls"
_AT_CLOSE: Final = "a message on its way at a close comes back when its lock ends"

NAMES: Final = (
    PrivateName("receiver", "_handler", f"{_SLOW_POLLS}; {_PUSHED}"),
    PrivateName("receiver", "_open", _REOPENED),
    PrivateName("receiver", "_create_handler", _REOPENED),
    PrivateName("receiver", "_receive_context", "messages between two polls are sent twice"),
    PrivateName("receiver", "_further_pull_receive_timeout", "a poll brings fewer messages"),
    PrivateName("receiver", "_amqp_transport", _PUSHED),
    PrivateName("receiver", "_running", "a lost session is given up when its lock ends"),
    PrivateName("transport", "reset_link_credit_async", _PUSHED),
    PrivateName("client", "do_work_async", _SLOW_POLLS),
    PrivateName("client", "_received_messages", _SLOW_POLLS),
    PrivateName("client", "_socket_timeout", _AT_CLOSE),
    PrivateName("client", "_keep_alive_thread", "a close takes a second longer"),
    PrivateName("client", "_link", _AT_CLOSE),
    PrivateName("link", "current_link_credit", _AT_CLOSE),
)
# Looked for in a message whose connection is gone, since no message is there at the opening.
MESSAGE_NAME: Final = PrivateName(
    "message", "_is_deferred_message", "messages of a broken connection are delivered again"
)


def say_what_is_missing(receiver: Any, queue: str) -> None:
    """Log one sentence, once a process, if an opened receiver lacks any of the names."""
    missing = [each for each in NAMES if _lacks(receiver, each)]
    if missing:
        _say(queue, missing)


def client_of(receiver: Any) -> Any:
    """Give the AMQP client, on which polls are ended; None before the opening or if missing."""
    return getattr(receiver, "_handler", None)


def opening_of(receiver: Any) -> tuple[Callable[..., Awaitable[None]], Callable[..., None]] | None:
    """Give how the SDK opens a receiver and makes its client; None if either is missing.

    Every request does both where the connection is broken, as many times as there are requests.
    """
    names = ("_open", "_create_handler", "_handler")
    if any(not hasattr(receiver, name) for name in names):
        return None
    return receiver._open, receiver._create_handler


def replace_opening(
    receiver: Any, open_: Callable[..., Awaitable[None]], create: Callable[..., None]
) -> None:
    """Have the SDK open and make by these; only where `opening_of` gave something."""
    receiver._open, receiver._create_handler = open_, create


def is_running(receiver: Any) -> bool:
    """Tell whether a session's receiver is alive: the SDK closes it when its connection breaks.

    True if the name is missing; the session is then given up when its lock ends.
    """
    return bool(getattr(receiver, "_running", True))


def keep_arrivals(receiver: Any, *, keep: bool) -> None:
    """Choose what the SDK does with messages that come between two polls: keep, or give back.

    What it gives back at once is pushed again at once, as long as a poll's request stands.
    """
    event = getattr(receiver, "_receive_context", None)
    if event is None:
        return
    if keep:
        event.set()
    else:
        event.clear()


def lengthen_lots(receiver: Any, seconds: float) -> None:
    """Let messages follow each other for so long in one poll; the SDK stops after 0.2 s."""
    if hasattr(receiver, "_further_pull_receive_timeout"):
        receiver._further_pull_receive_timeout = seconds


async def ask_for_nothing(receiver: Any) -> None:
    """Take back what a poll asked for and did not get.

    The service would lock such messages for nobody, and the SDK give them back, again and again.
    """
    client, amqp = client_of(receiver), getattr(receiver, "_amqp_transport", None)
    reset = getattr(amqp, "reset_link_credit_async", None)
    if client is not None and reset is not None:
        await reset(client, 0)


def work_of(client: Any) -> Callable[..., Awaitable[bool]] | None:
    """Give the step that a poll repeats until it is over, to be wrapped; None if missing."""
    work: Callable[..., Awaitable[bool]] | None = getattr(client, "do_work_async", None)
    return work


def replace_work(client: Any, work: Callable[..., Awaitable[bool]]) -> None:
    """Have polls repeat this step; only where `work_of` gave something."""
    client.do_work_async = work


def arrived_of(client: Any) -> Callable[[], int] | None:
    """Give a count of the messages that a poll has so far; None if missing.

    A poll is ended early only while it has none.
    """
    arrived = getattr(client, "_received_messages", None)
    # The SDK replaces the queue when it closes the client, and a wrapped step must not see that.
    return None if arrived is None else arrived.qsize


def read_patience(client: Any) -> float | None:
    """Give how long a step waits for something to read; None if missing."""
    seconds: float | None = getattr(client, "_socket_timeout", None)
    return seconds


def wait_for_reads(client: Any, seconds: float | None) -> None:
    """Let a step wait for so long for something to read; a name that is missing stays so."""
    if hasattr(client, "_socket_timeout"):
        client._socket_timeout = seconds


def stop_keep_alive(client: Any) -> None:
    """Spare a close the second that the SDK's keep-alive sleeps before it looks around."""
    task = getattr(client, "_keep_alive_thread", None)
    if isinstance(task, asyncio.Task):
        client._keep_alive_thread = None
        task.cancel()


def let_close_drain(client: Any) -> None:
    """Have a close wait for what is still on its way, and release it.

    The SDK does so only where something is still asked for. But messages that were asked for before
    that was taken back come all the same, and would stay locked for nobody.
    """
    link: Any = getattr(client, "_link", None)
    if hasattr(link, "current_link_credit"):
        link.current_link_credit = max(1, link.current_link_credit)


def settle_by_token(raw: Any, queue: str) -> bool:
    """Have the SDK settle a message by its lock token, as it does with deferred ones.

    By default it settles by the message's number on the connection, which stands for another
    message, or none, where that connection is gone. False if the name is missing; the message must
    be left to the end of its lock then.
    """
    if not hasattr(raw, MESSAGE_NAME.name):
        _say(queue, [MESSAGE_NAME])
        return False
    raw._is_deferred_message = True
    return True


def _say(queue: str, missing: Sequence[PrivateName]) -> None:
    names = ", ".join(each.name for each in missing)
    effects = "; ".join(dict.fromkeys(each.without for each in missing))
    events.say_once(
        queue,
        "sdk_internals",
        f"this azure-servicebus has no {names}: {effects}. No message is lost; install 7.15 "
        "(pip install 'azure-servicebus==7.15.*') to be rid of it",
    )


def _lacks(receiver: Any, each: PrivateName) -> bool:
    """Tell whether a name is missing, and its owner is not: else the owner is named instead."""
    owner = dict(_owners(receiver)).get(each.owner)
    return owner is not None and not hasattr(owner, each.name)


def _owners(receiver: Any) -> Iterator[tuple[str, Any]]:
    client = client_of(receiver)
    yield "receiver", receiver
    yield "client", client
    yield "transport", getattr(receiver, "_amqp_transport", None)
    yield "link", getattr(client, "_link", None)
