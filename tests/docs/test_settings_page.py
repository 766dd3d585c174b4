"""The page on configuration is what the settings' own table says."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.examples import ROOT


def test_page_is_up_to_date() -> None:
    script = [sys.executable, "-m", "scripts.settings_page", "--check"]
    checked = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
