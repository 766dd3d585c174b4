"""What the operator decides: settings from every layer, each value traceable, secrets hidden."""

from queue_runtime.config.load import Settings, load_settings
from queue_runtime.config.origin import Origin
from queue_runtime.config.secrets import Secret, SecretResolver, redact

__all__ = ["Origin", "Secret", "SecretResolver", "Settings", "load_settings", "redact"]
