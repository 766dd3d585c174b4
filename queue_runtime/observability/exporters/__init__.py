"""Sends metrics, spans and log lines: one module for each format, imported when chosen."""
