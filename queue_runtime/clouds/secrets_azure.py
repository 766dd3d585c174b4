"""Reads `azure-keyvault://vault/name` from Azure Key Vault, as the identity that signs in."""

from __future__ import annotations

from typing import Any, Final

from queue_runtime.clouds.azure import ServiceBusConnection, identity
from queue_runtime.clouds.https import Answer, ask
from queue_runtime.config.references import Found, SecretProblem, field_of

# https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret
_VERSION: Final = "7.4"
_DOMAIN: Final = "vault.azure.net"
# A token is shown to no other host: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
_DOMAINS: Final = (_DOMAIN, "vault.azure.cn", "vault.usgovcloudapi.net")
_LOOPBACK: Final = ("localhost", "127.0.0.1")
_FIXES: Final = {
    401: "the identity is not of the vault's tenant; correct AZURE_TENANT_ID",
    403: "give the identity the role Key Vault Secrets User, and the network access to the vault",
    404: "there is no such secret; create or recover it, or correct the name",
    429: "it is asked too often; raise QUEUE_SECRET_SECONDS",
}


class KeyVault:
    """Secrets of any vault that the process's identity may read.

    `vault` is its name, or its host outside of the public cloud. A third part is a version, which
    is then never another one. A secret that has expired is still given, as Key Vault does.
    """

    def __init__(self) -> None:
        self._identity: Any = None

    def read(self, place: str, field: str) -> Found:
        """Read a secret; see `SecretStore.read`."""
        vault, _, rest = place.partition("/")
        name, _, version = rest.strip("/").partition("/")
        if not vault or not name:
            raise SecretProblem("no name of one follows; write azure-keyvault://vault/secret")
        host, domain = _host(vault)
        url = f"https://{host}/secrets/{name}/{version}?api-version={_VERSION}"
        answer = self._answer(url, f"https://{domain}/.default")
        if "value" not in answer.body:
            fix = _FIXES.get(answer.status, "check the vault's name and the network")
            raise SecretProblem(f"Key Vault answers {answer.status}: {fix}")
        ends = (answer.body.get("attributes") or {}).get("exp")
        text = field_of(str(answer.body["value"]), field)
        return Found(text, float(ends) if isinstance(ends, int) else None)

    def _answer(self, url: str, scope: str) -> Answer:
        if self._identity is None:
            self._identity = identity(ServiceBusConnection())
        try:
            token = self._identity.get_token(scope).token
        except Exception as error:
            raise SecretProblem(
                f"nobody could sign in to Azure ({type(error).__name__}): give the process a "
                "managed or workload identity, or AZURE_CLIENT_ID, AZURE_TENANT_ID and a secret"
            ) from None
        try:
            return ask("GET", url, {"Authorization": f"Bearer {token}"})
        except OSError as error:
            raise SecretProblem(
                f"Key Vault is not reached ({error}): check the vault's name and the network"
            ) from None


def _host(vault: str) -> tuple[str, str]:
    if "." not in vault and vault.partition(":")[0] not in _LOOPBACK:
        return f"{vault}.{_DOMAIN}", _DOMAIN
    for domain in _DOMAINS:
        if vault.endswith(f".{domain}"):
            return vault, domain
    if vault.partition(":")[0] in _LOOPBACK:
        return vault, _DOMAIN
    raise SecretProblem(
        f"{vault} is no vault: write its name, or its host at {', '.join(_DOMAINS)}"
    )
