"""Azure: how a Functions app names its Service Bus, and a client for it, made when first needed."""

from __future__ import annotations

from logging import DEBUG
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from queue_runtime.config import Secret
from queue_runtime.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The SDK's own attempts are off: when to try again is decided above, by the time that is left.
CALL_SECONDS: Final = 5.0


class ServiceBusConnection(NamedTuple):
    """Describes the connection to a Service Bus namespace: by key, or by its name and an identity.

    - `client_id`: of a user-assigned identity, or of an app with a secret.
    """

    connection_string: Secret | None = None
    namespace: str = ""
    client_id: str | None = None
    tenant_id: str | None = None
    client_secret: Secret | None = None

    @property
    def host(self) -> str | None:
        """The namespace's host name, which is no secret."""
        if self.connection_string is None:
            return self.namespace or None
        fields = self.connection_string.reveal().split(";")
        known = {name.strip().lower(): url for name, _, url in (f.partition("=") for f in fields)}
        return urlsplit(known.get("endpoint", "")).hostname


def functions_connection(name: str, environ: Mapping[str, str]) -> ServiceBusConnection:
    """Read what a trigger's `connection` means, as the Functions host does.

    That is an app setting NAME (or AzureWebJobsNAME) with a connection string, or a group
    NAME__fullyQualifiedNamespace, NAME__clientId, NAME__tenantId, NAME__clientSecret
    (https://learn.microsoft.com/azure/azure-functions/functions-reference#connections).

    Raises:
        SettingsError: neither is there.
    """
    for prefix in (name, f"AzureWebJobs{name}"):
        if text := _setting(environ, prefix):
            return ServiceBusConnection(Secret(text))
        if namespace := _setting(environ, f"{prefix}__fullyQualifiedNamespace"):
            secret = _setting(environ, f"{prefix}__clientSecret")
            return ServiceBusConnection(
                namespace=namespace,
                client_id=_setting(environ, f"{prefix}__clientId"),
                tenant_id=_setting(environ, f"{prefix}__tenantId"),
                client_secret=Secret(secret) if secret else None,
            )
    raise SettingsError(
        f"the app settings have neither {name} (a connection string) nor "
        f"{name}__fullyQualifiedNamespace (with an identity): add one of them"
    )


def service_bus_client(connection: ServiceBusConnection, *, seconds: float = CALL_SECONDS) -> Any:
    """Make the SDK's asyncio client, each of whose operations is tried once for `seconds`.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    try:
        from azure.servicebus.aio import ServiceBusClient
    except ImportError:
        raise MissingExtraError("Service Bus", "azure") from None
    options: dict[str, Any] = {"retry_total": 0, "try_timeout": seconds}
    if connection.connection_string is not None:
        text = connection.connection_string.reveal()
        return ServiceBusClient.from_connection_string(text, **options)
    credential = AzureCredential(connection)
    return ServiceBusClient(connection.namespace, credential, **options)


def service_bus_management(connection: ServiceBusConnection, *, seconds: float) -> Any:
    """Make the SDK's blocking client of the management API, which tries once.

    `seconds` limit connecting and each wait for bytes, so an answer may take longer altogether.
    The asyncio client would need an HTTP library more.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    try:
        from azure.servicebus.management import ServiceBusAdministrationClient
    except ImportError:
        raise MissingExtraError("Service Bus", "azure") from None
    options: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": seconds,
        "read_timeout": seconds,
        "http_logging_level": DEBUG,  # it would log each request as info
    }
    if connection.connection_string is not None:
        text = connection.connection_string.reveal()
        return ServiceBusAdministrationClient.from_connection_string(text, **options)
    return ServiceBusAdministrationClient(connection.namespace, _identity(connection), **options)


class AzureCredential:
    """The identity that signs in, asked off the event loop.

    azure-identity's own asyncio credentials would need an HTTP library more.
    """

    def __init__(self, connection: ServiceBusConnection) -> None:
        self._credential = _identity(connection)

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Get a token for the SDK."""
        from asyncio import to_thread

        return await to_thread(self._credential.get_token, *scopes, **options)

    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """Get a token by the SDK's newer protocol."""
        from asyncio import to_thread

        return await to_thread(self._credential.get_token_info, *scopes, options=options)

    async def close(self) -> None:
        """Close its connections."""
        self._credential.close()

    async def __aenter__(self) -> AzureCredential:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def _identity(connection: ServiceBusConnection) -> Any:
    try:
        from azure.identity import ClientSecretCredential, DefaultAzureCredential
    except ImportError:
        raise MissingExtraError("signing in to Azure with an identity", "azure") from None
    if connection.client_secret and connection.client_id and connection.tenant_id:
        secret = connection.client_secret.reveal()
        return ClientSecretCredential(connection.tenant_id, connection.client_id, secret)
    return DefaultAzureCredential(
        managed_identity_client_id=connection.client_id,
        workload_identity_client_id=connection.client_id,
        exclude_interactive_browser_credential=True,
    )


def _setting(environ: Mapping[str, str], name: str) -> str | None:
    # An app setting's ":" is written as "__" where the system allows no ":" in a variable.
    value = environ.get(name) or environ.get(name.replace("__", ":"))
    return value.strip() if value and value.strip() else None
