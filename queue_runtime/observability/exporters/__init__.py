"""Where metrics and log lines go: one module a format or service, each loaded when asked for."""
