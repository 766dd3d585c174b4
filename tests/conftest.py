"""Fixtures for all tests."""

# By hand, since the entry point would load the package before coverage is measured.
pytest_plugins = ["queue_runtime.testing.pytest_plugin"]
