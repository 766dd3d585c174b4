"""Reads `aws-secretsmanager://name-or-arn?region=eu-west-1#field` from AWS Secrets Manager."""

from __future__ import annotations

from typing import Any, Final

from queue_runtime.clouds.aws import aws_client, error_code
from queue_runtime.config.references import Found, SecretProblem, field_of

_SECONDS: Final = 3.0
_ATTEMPTS: Final = 3
_FIXES: Final = {
    "ResourceNotFoundException": "there is no such secret; create it, or correct name and region",
    "InvalidRequestException": "the secret is marked as deleted; restore it",
    "AccessDeniedException": "allow secretsmanager:GetSecretValue on it",
    "DecryptionFailure": "allow kms:Decrypt on its key",
}


class SecretsManager:
    """Secrets of the account whose credentials the AWS SDK finds, or by ARN of another's.

    What is current is asked for by its stage: a rotation moves that from one version to the next.
    """

    def __init__(self) -> None:
        self._clients: dict[str | None, Any] = {}

    def read(self, place: str, field: str) -> Found:
        """Read a secret; see `SecretStore.read`."""
        name, _, query = place.partition("?")
        region = query.removeprefix("region=") if query else _region_of(name)
        try:
            answer = self._client(region).get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
        except Exception as error:
            raise SecretProblem(_why(error)) from None
        text = answer.get("SecretString")
        if text is None:
            text = answer["SecretBinary"].decode("utf-8", "replace")
        return Found(field_of(text, field))

    def _client(self, region: str | None) -> Any:
        # Made anew after a failure: one whose credentials have expired stays with them.
        if region not in self._clients:
            self._clients[region] = aws_client(
                "secretsmanager", region, read_timeout=_SECONDS, attempts=_ATTEMPTS
            )
        return self._clients[region]


def _region_of(name: str) -> str | None:
    parts = name.split(":")
    return parts[3] if name.startswith("arn:") and len(parts) > 6 else None


def _why(error: Exception) -> str:
    code = error_code(error)
    if code is None:
        return f"{type(error).__name__}: {error}"
    fix = _FIXES.get(code, "check credentials, region and network")
    return f"AWS Secrets Manager answers {code}: {fix}"
