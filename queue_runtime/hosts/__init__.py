"""Runs handlers: one package for each host; hosts do not import each other."""
