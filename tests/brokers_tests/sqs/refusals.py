"""How tests ask which error a call met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(work: Callable[[], object]) -> str:
    """The error's code, as boto3 shows it."""
    return refused(work)[0]


def refused(work: Callable[[], object]) -> tuple[str, str]:
    """The error's code and message."""
    with pytest.raises(ClientError) as caught:
        work()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]
