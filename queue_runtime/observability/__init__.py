"""Counts, log lines, spans and metrics of everything that happens to messages."""
