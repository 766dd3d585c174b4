"""What the operator decides: settings from every layer, each value traceable, secrets hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.config.load import Settings, load_settings
from queue_runtime.config.origin import Origin

if TYPE_CHECKING:
    from queue_runtime.config.secrets import Secret, SecretResolver, redact

__all__ = ["Origin", "Secret", "SecretResolver", "Settings", "load_settings", "redact"]


def __getattr__(name: str) -> object:
    # On the first use: a function without a secret has nothing to hide.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from queue_runtime.config import secrets

    value = getattr(secrets, name)
    globals()[name] = value
    return value
