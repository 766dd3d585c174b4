"""Runs handlers as Azure Functions behind Service Bus triggers."""

from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.hosts.azure_functions.registration import register

__all__ = ["FunctionsHost", "Source", "register"]
