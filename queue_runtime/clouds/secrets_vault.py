"""Reads `vault://mount/path#field` from HashiCorp Vault or OpenBao, of a KV 2 engine."""

from __future__ import annotations

import json
import os
from datetime import datetime
from time import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from queue_runtime.clouds.https import Answer, ask
from queue_runtime.config.references import Found, SecretProblem, field_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# https://developer.hashicorp.com/vault/docs/commands#environment-variables, and ours for logins.
_ADDRESS: Final = "VAULT_ADDR"
_JWT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_HOW: Final = (
    "set VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID with VAULT_SECRET_ID, or VAULT_ROLE in "
    "Kubernetes"
)
# A login is done again before its token ends.
_MARGIN_SECONDS: Final = 30.0
_FIXES: Final = {
    403: "the token has ended, or no policy of it allows to read that path",
    404: "there is no such secret or engine; write it, or correct mount and path",
    503: "it is sealed or in maintenance; unseal it",
}


class Vault:
    """Secrets of the server at VAULT_ADDR, in VAULT_NAMESPACE.

    The token is that of VAULT_TOKEN, or what is in VAULT_TOKEN_FILE at that moment, or is got by a
    login. A login is repeated where its token has ended or is refused.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._token, self._token_ends = "", 0.0

    def read(self, place: str, field: str) -> Found:
        """Read a secret; see `SecretStore.read`."""
        mount, _, path = place.strip("/").partition("/")
        if not mount or not path:
            raise SecretProblem("no name of one follows; write vault://mount/path#field")
        url = f"/v1/{quote(mount)}/data/{quote(path)}"
        answer = self._ask("GET", url, self._sign_in())
        if answer.status == 403 and self._logs_in():
            self._token = ""
            answer = self._ask("GET", url, self._sign_in())
        data = answer.body.get("data") or {}
        fields = data.get("data")
        if not isinstance(fields, dict):
            raise SecretProblem(_why(answer))
        return Found(_chosen(fields, field), self._ends(data.get("metadata") or {}))

    # --- who we are ------------------------------------------------------------------------------

    def _logs_in(self) -> bool:
        return not (os.environ.get("VAULT_TOKEN") or os.environ.get("VAULT_TOKEN_FILE"))

    def _sign_in(self) -> str:
        if path := os.environ.get("VAULT_TOKEN_FILE"):
            return _text_of(path)
        if token := os.environ.get("VAULT_TOKEN"):
            return token
        if not self._token or self._clock() > self._token_ends - _MARGIN_SECONDS:
            self._log_in()
        return self._token

    def _log_in(self) -> None:
        environ = os.environ
        if environ.get("VAULT_ROLE_ID"):
            body = {"role_id": environ["VAULT_ROLE_ID"], "secret_id": _secret_id()}
            answer = self._ask("POST", "/v1/auth/approle/login", "", body)
        elif environ.get("VAULT_ROLE"):
            body = {"role": environ["VAULT_ROLE"], "jwt": _text_of(_JWT)}
            answer = self._ask("POST", "/v1/auth/kubernetes/login", "", body)
        else:
            raise SecretProblem(f"nobody signs in to Vault: {_HOW}")
        auth = answer.body.get("auth") or {}
        if not auth.get("client_token"):
            raise SecretProblem(f"Vault refuses the login ({answer.status}): correct the role")
        self._token = str(auth["client_token"])
        self._token_ends = self._clock() + float(auth.get("lease_duration") or 0)

    def _ends(self, metadata: Mapping[str, Any]) -> float | None:
        """Give when the secret is deleted, or else when a token that we were given ends."""
        if (deletion := _unix(metadata.get("deletion_time"))) is not None:
            return deletion
        if self._logs_in():
            return None
        token = self._ask("GET", "/v1/auth/token/lookup-self", self._sign_in())
        return _unix((token.body.get("data") or {}).get("expire_time"))

    def _ask(
        self, method: str, path: str, token: str, body: Mapping[str, object] | None = None
    ) -> Answer:
        address = os.environ.get(_ADDRESS, "").rstrip("/")
        if not address.startswith(("https://", "http://")):
            raise SecretProblem(f"{_ADDRESS} says no server: set it, such as https://vault:8200")
        headers = {"X-Vault-Request": "true", "Content-Type": "application/json"}
        if token:
            headers["X-Vault-Token"] = token
        if namespace := os.environ.get("VAULT_NAMESPACE"):
            headers["X-Vault-Namespace"] = namespace
        authorities = os.environ.get("VAULT_CACERT")
        try:
            return ask(method, address + path, headers, body=body, authorities=authorities)
        except (OSError, ValueError) as error:
            raise SecretProblem(
                f"Vault is not reached ({error}): check {_ADDRESS} and the network"
            ) from None


def _chosen(fields: Mapping[str, Any], field: str) -> str:
    if field or len(fields) != 1:
        if not field:
            raise SecretProblem(f"the secret has {len(fields)} fields: choose one by #field")
        return field_of(json.dumps(fields), field)
    (text,) = fields.values()
    return str(text)


def _why(answer: Answer) -> str:
    fix = _FIXES.get(answer.status, "check the server and the path; only KV version 2 is read")
    return f"Vault answers {answer.status}: {fix}"


def _secret_id() -> str:
    path = os.environ.get("VAULT_SECRET_ID_FILE")
    return _text_of(path) if path else os.environ.get("VAULT_SECRET_ID", "")


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError as error:
        raise SecretProblem(f"{path} cannot be read: {error.strerror}; correct that") from None


def _unix(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)[:19] + "+00:00").timestamp() if text else None
    except ValueError:
        return None
