"""Deployable examples: handlers, and the events that run them."""
