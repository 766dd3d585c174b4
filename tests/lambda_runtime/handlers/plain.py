"""Handlers without queue_runtime, which show what the emulator itself does."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def answer(event: Any, context: Any) -> dict[str, Any]:
    """Return the event and what there is of an environment."""
    sys.stdout.write(f"answering {context.aws_request_id}\n")
    return {
        "event": event,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
        "stage": os.environ.get("STAGE"),
        "path": sys.path,
        "modules": sorted(sys.modules),
    }


def act(event: dict[str, Any], context: Any) -> Any:
    """Do as the event says: raise, end the process, take long, or return a value."""
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "seconds" in event:
        time.sleep(event["seconds"])
    return event.get("return")
