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
        return urlsplit(_fields(self.connection_string).get("endpoint", "")).hostname

    @property
    def version(self) -> int:
        """The version of the key or secret that the next connection is made with."""
        secret = self.connection_string or self.client_secret
        return 0 if secret is None else secret.version

    async def renewed(self, version: int) -> bool:
        """Read the key or secret again, off the event loop, after one of that version was refused.

        True where there is another now, so that a new connection may do better.
        """
        secret = self.connection_string or self.client_secret
        if secret is None or not secret.version:
            return False
        from asyncio import to_thread

        return await to_thread(secret.renew, version)


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
    if connection.connection_string is None:
        return ServiceBusClient(connection.namespace, AzureCredential(connection), **options)
    if not connection.connection_string.version:  # one that never changes is the SDK's to read
        text = connection.connection_string.reveal()
        return ServiceBusClient.from_connection_string(text, **options)
    fields = _fields(connection.connection_string)
    options["use_tls"] = fields.get("usedevelopmentemulator", "") != "true"
    host = urlsplit(fields["endpoint"]).netloc
    return ServiceBusClient(host, _live_key(connection.connection_string), **options)


def _live_key(secret: Secret) -> Any:
    """Make a credential whose every new token is of the secret as it is then."""
    from azure.core.credentials import AzureNamedKey, AzureNamedKeyCredential, AzureSasCredential

    class LiveKey(AzureNamedKeyCredential):
        @property
        def named_key(self) -> AzureNamedKey:
            fields = _fields(secret)
            return AzureNamedKey(fields["sharedaccesskeyname"], fields["sharedaccesskey"])

    class LiveSignature(AzureSasCredential):
        @property
        def signature(self) -> str:
            return _fields(secret)["sharedaccesssignature"]

    if "sharedaccesssignature" in _fields(secret):
        return LiveSignature("unused")
    return LiveKey("unused", "unused")


def _fields(connection_string: Secret) -> dict[str, str]:
    parts = (part.partition("=") for part in connection_string.reveal().split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in parts}


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
    return ServiceBusAdministrationClient(connection.namespace, identity(connection), **options)


class AzureCredential:
    """The identity that signs in, asked off the event loop.

    azure-identity's own asyncio credentials would need an HTTP library more. A client secret that
    was refused is read again where it is kept, and tried once more where it is another.
    """

    def __init__(self, connection: ServiceBusConnection) -> None:
        self._connection, self._version = connection, connection.version
        self._credential = identity(connection)

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Get a token for the SDK."""
        from asyncio import to_thread

        return await to_thread(self._ask, "get_token", *scopes, **options)

    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """Get a token by the SDK's newer protocol."""
        from asyncio import to_thread

        return await to_thread(self._ask, "get_token_info", *scopes, options=options)

    def _ask(self, method: str, *scopes: str, **options: Any) -> Any:
        from azure.core.exceptions import ClientAuthenticationError

        try:
            return getattr(self._credential, method)(*scopes, **options)
        except ClientAuthenticationError:
            secret = self._connection.client_secret
            if secret is None or not secret.renew(self._version):
                raise
            self._credential.close()
            self._credential, self._version = identity(self._connection), secret.version
            return getattr(self._credential, method)(*scopes, **options)

    async def close(self) -> None:
        """Close its connections."""
        self._credential.close()

    async def __aenter__(self) -> AzureCredential:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def identity(connection: ServiceBusConnection) -> Any:
    """Make the credential that signs in: of an app by its secret, else what the process has.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    try:
        from azure.identity import ClientSecretCredential, DefaultAzureCredential
    except ImportError:
        raise MissingExtraError("signing in to Azure with an identity", "azure") from None
    if connection.client_secret and connection.client_id and connection.tenant_id:
        secret = connection.client_secret.reveal()
        return ClientSecretCredential(connection.tenant_id, connection.client_id, secret)
    options: dict[str, Any] = {}
    if connection.tenant_id:  # a managed identity has no other tenant than its own
        options["workload_identity_tenant_id"] = connection.tenant_id
    return DefaultAzureCredential(
        managed_identity_client_id=connection.client_id,
        workload_identity_client_id=connection.client_id,
        exclude_interactive_browser_credential=True,
        **options,
    )


def _setting(environ: Mapping[str, str], name: str) -> str | None:
    # An app setting's ":" is written as "__" where the system allows no ":" in a variable.
    value = environ.get(name) or environ.get(name.replace("__", ":"))
    return value.strip() if value and value.strip() else None
