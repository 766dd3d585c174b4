"""Decides how messages are settled by their outcomes; hosts and transports carry that out."""
