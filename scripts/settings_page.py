"""Writes docs/configuration.md from the settings' own table:  settings_page [--check]."""

from __future__ import annotations

import re
import sys

from queue_runtime.config.table import settings_reference
from scripts import generated

PAGE = generated.DOCS / "configuration.md"

ABOVE_THE_TABLE = """\
# Configuration

<!-- Written by `make generate` from queue_runtime/config/table.py. -->

Each setting is looked for in five places. The later one wins, and each value knows where it came
from:

1. the default;
2. the decorator: what the author of the function knows;
3. the file that `QUEUE_RUNTIME_CONFIG` names, else `queue-runtime.toml` (or `.yaml`) in the working
   directory;
4. the environment;
5. the command line.

A name that is unknown, a value that is wrong, or a combination that cannot be fails at start. The
error names the key, where it came from and the fix. Secrets are hidden wherever a setting is shown.
A value that the host cannot use is said once, and has no effect.

## Settings

Times are in seconds.
"""

BELOW_THE_TABLE = """
A text that starts with `secret://` is looked up by the secret resolver that the program was given.

Credentials and addresses of AWS are found as the AWS SDK finds them: `AWS_PROFILE`, a role,
`AWS_ENDPOINT_URL_SQS`.
"""


def page(_current: str) -> str:
    """Give the whole page."""
    rows = [
        (f"`{name}`", _variables(environment), default, takes, meaning)
        for name, environment, default, takes, meaning in settings_reference()
    ]
    head = ("setting", "environment", "default", "takes", "meaning")
    return f"{ABOVE_THE_TABLE}\n{generated.table(head, *rows)}\n{BELOW_THE_TABLE}"


def _variables(text: str) -> str:
    return re.sub(r"[A-Z_]{2,}", lambda name: f"`{name[0]}`", text)


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
