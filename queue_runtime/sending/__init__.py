"""Sending messages to a queue."""
