"""The two ways this broker says no, and the AMQP conditions it says it with."""

from __future__ import annotations


class Condition:
    """Error conditions as they travel on the wire; clients choose their exception by them."""

    DECODE_ERROR = "amqp:decode-error"
    FRAMING_ERROR = "amqp:connection:framing-error"
    INTERNAL_ERROR = "amqp:internal-error"
    NOT_ALLOWED = "amqp:not-allowed"
    NOT_FOUND = "amqp:not-found"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    UNAUTHORIZED = "amqp:unauthorized-access"
    CONNECTION_FORCED = "amqp:connection:forced"
    DETACH_FORCED = "amqp:link:detach-forced"
    MESSAGE_TOO_LARGE = "amqp:link:message-size-exceeded"
    UNATTACHED_HANDLE = "amqp:session:unattached-handle"
    ARGUMENT_ERROR = "com.microsoft:argument-error"
    DEAD_LETTER = "com.microsoft:dead-letter"
    ENTITY_DISABLED = "com.microsoft:entity-disabled"
    MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost"
    MESSAGE_NOT_FOUND = "com.microsoft:message-not-found"
    SERVER_BUSY = "com.microsoft:server-busy"
    SESSION_CANNOT_BE_LOCKED = "com.microsoft:session-cannot-be-locked"
    SESSION_LOCK_LOST = "com.microsoft:session-lock-lost"
    TIMEOUT = "com.microsoft:timeout"


class ProtocolError(Exception):
    """What the peer sent is not AMQP; the connection cannot go on."""

    def __init__(self, description: str, condition: str = Condition.DECODE_ERROR) -> None:
        super().__init__(f"{description} ({condition})")
        self.condition = condition
        self.description = description


class BrokerError(Exception):
    """The request was understood and refused; the peer is told the condition."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{description} ({condition})")
        self.condition = condition
        self.description = description
