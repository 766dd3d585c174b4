"""What each transport can do: it chooses tests, and is the table of docs/transports/index.md."""

from __future__ import annotations

from queue_runtime.testing.conformance import Features

LOCAL = Features()
SQS = Features(long_delays=False, binary_bodies=False, oldest_age=False)
SERVICE_BUS = Features(ordered_groups=False, depth_by_state=False)
SERVICE_BUS_SESSIONS = Features(delayed_retry=False, depth_by_state=False, oldest_age=False)
