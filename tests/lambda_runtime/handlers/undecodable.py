"""A handler whose argument has no annotation, which its import has to refuse."""

from queue_runtime import queue_handler


@queue_handler
def take(order):  # type: ignore[no-untyped-def]  # noqa: ANN001  # what is shown
    """Never run."""
