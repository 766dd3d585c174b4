"""What the operator decides: settings from every layer, each value traceable, secrets hidden."""

from queue_runtime.config.layers import Origin
from queue_runtime.config.load import Settings, load_settings
from queue_runtime.config.secrets import Secret, SecretResolver, redact
from queue_runtime.config.table import SETTINGS, settings_reference

__all__ = [
    "SETTINGS",
    "Origin",
    "Secret",
    "SecretResolver",
    "Settings",
    "load_settings",
    "redact",
    "settings_reference",
]
