"""Shared access policies: who may send, listen and manage, proven by a signed token."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, quote_plus, urlsplit

from .errors import BrokerError, Condition

SEND, LISTEN, MANAGE = "Send", "Listen", "Manage"
ALL_CLAIMS: Final = frozenset({SEND, LISTEN, MANAGE})
_PREFIX: Final = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Policy:
    """A key and what it allows."""

    name: str
    key: str
    claims: frozenset[str] = ALL_CLAIMS


@dataclass(slots=True)
class Grants:
    """What one connection has shown tokens for."""

    _claims: dict[str, frozenset[str]] = field(default_factory=dict)

    def add(self, path: str, claims: frozenset[str]) -> None:
        """Remembers that `path` and everything beneath it may be used."""
        self._claims[path.lower()] = claims

    def check(self, path: str, claim: str) -> None:
        """Raises amqp:unauthorized-access unless a grant covers it."""
        wanted = path.lower()
        for granted, claims in self._claims.items():
            beneath = granted == "" or wanted == granted or wanted.startswith(f"{granted}/")
            if beneath and claim in claims:
                return
        text = f"Unauthorized access. '{claim}' claim(s) are required on '{path}'."
        raise BrokerError(Condition.UNAUTHORIZED, text)


def path_of(address: str) -> str:
    """The entity path in an address with or without scheme and host."""
    parts = urlsplit(address) if "://" in address else None
    return (parts.path if parts else address).strip("/")


def verify(token: str, audience: str, policies: dict[str, Policy], now: float) -> frozenset[str]:
    """The claims that a SAS token proves for `audience`; amqp:unauthorized-access if none."""
    fields = parse_qs(token.removeprefix(_PREFIX)) if token.startswith(_PREFIX) else {}
    resource, signature, expiry, name = (
        fields.get(key, [""])[0] for key in ("sr", "sig", "se", "skn")
    )
    policy = policies.get(name)
    if policy is None or not hmac.compare_digest(_sign(resource, expiry, policy), signature):
        raise BrokerError(Condition.UNAUTHORIZED, "InvalidSignature: The token is not valid.")
    if not expiry.isdigit() or int(expiry) <= now:
        raise BrokerError(Condition.UNAUTHORIZED, "ExpiredToken: The token has expired.")
    if not f"{path_of(audience)}/".lower().startswith(path_of(resource).lower()):
        raise BrokerError(Condition.UNAUTHORIZED, "The token is for another resource.")
    return policy.claims


def _sign(resource: str, expiry: str, policy: Policy) -> str:
    text = f"{quote_plus(resource)}\n{expiry}".encode()
    digest = hmac.new(policy.key.encode(), text, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
