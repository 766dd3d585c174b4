"""What the operating system tells of this process, by the names that Prometheus clients use."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_STARTED: Final = time.time()
_HELP: Final = {
    "process_cpu_seconds_total": ("counter", "User and system CPU time, in seconds."),
    "process_resident_memory_bytes": ("gauge", "Resident memory, in bytes."),
    "process_open_fds": ("gauge", "Open file descriptors."),
    "process_start_time_seconds": ("gauge", "When the process began, in seconds since 1970."),
}


def resident_bytes() -> int:
    """Give this process's resident memory; 0 where the system does not tell it."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def process_exposition() -> str:
    """Give the process's metrics in Prometheus's text format."""
    values: dict[str, float] = {
        "process_cpu_seconds_total": time.process_time(),
        "process_start_time_seconds": _STARTED,
    }
    if resident := resident_bytes():
        values["process_resident_memory_bytes"] = resident
    with suppress(OSError):
        values["process_open_fds"] = len(os.listdir("/proc/self/fd"))
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {values[name]:.16g}\n"
        for name, (kind, text) in _HELP.items()
        if name in values
    )
