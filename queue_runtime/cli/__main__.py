"""Lets `python -m queue_runtime.cli` stand for the command `queue-runtime`."""

import sys

from queue_runtime.cli import main

sys.exit(main())
