from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_runtime.config import Secret, redact
from queue_runtime.config import secrets as module

KEY = "c2VjcmV0/a+b=="


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"Endpoint=sb://ns/;SharedAccessKeyName=app;SharedAccessKey={KEY};EntityPath=orders",
            "Endpoint=sb://ns/;SharedAccessKeyName=app;SharedAccessKey=***;EntityPath=orders",
        ),
        (
            "SharedAccessSignature=SharedAccessSignature sr=sb&sig=a%2Fb%3D&se=17&skn=app;X=1",
            "SharedAccessSignature=*** sr=sb&sig=***&se=17&skn=app;X=1",
        ),
        ("https://q/?sig=abc%3D&se=1", "https://q/?sig=***&se=1"),
        ("?c=SharedAccessKey%3Dabc%3D%3B&n=1", "?c=SharedAccessKey%3D***&n=1"),
        ("AccountKey = abc", "AccountKey = ***"),
        (f"AWS_SECRET_ACCESS_KEY={KEY}", "AWS_SECRET_ACCESS_KEY=***"),
        ("aws_session_token = 'abc'", "aws_session_token = '***'"),
        ('{"SecretAccessKey": "abc", "N": 1}', '{"SecretAccessKey": "***", "N": 1}'),
        (r'"{\"SessionToken\": \"abc\"}"', r'"{\"SessionToken\": \"***\"}"'),
        (
            "https://s/?X-Amz-Security-Token=abc&X-Amz-Signature=0f&X-Amz-Date=1",
            "https://s/?X-Amz-Security-Token=***&X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("AZURE_CLIENT_SECRET=abc password: abc", "AZURE_CLIENT_SECRET=*** password: ***"),
        ("amqp://user:pass@host:5671/v", "amqp://user:***@host:5671/v"),
        ("sqs://AKIA:ab/c+d@/orders", "sqs://AKIA:***@/orders"),
        ("redis://:p@ss@host", "redis://:***@host"),
        ("a://u:p@h1,a://v:q@h2", "a://u:***@h1,a://v:***@h2"),
    ],
)
def test_redact_hides_the_secret_and_keeps_what_identifies(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
        "http://localhost:4566/000000000000/a@b",
        "SharedAccessKeyName=app",
        "invalid signature: the design=2 is old",
        "arn:aws:sqs:eu-west-1:123456789012:orders",
    ],
)
def test_redact_leaves_other_text_alone(text: str) -> None:
    assert redact(text) == text


@given(
    key=st.text("ABCDEFGHabcdefgh0123456789+/", min_size=8, max_size=60),
    padding=st.sampled_from(["", "=", "=="]),
    before=st.text(max_size=40),
)
def test_no_key_survives_in_a_connection_string(key: str, padding: str, before: str) -> None:
    # A quote right before it would be a quoted value, which ends at the next quote.
    text = f"{before};SharedAccessKeyName=app;SharedAccessKey={key}{padding};EntityPath=q"
    shown = redact(text)
    assert shown.endswith(";SharedAccessKey=***;EntityPath=q")


def test_the_patterns_are_compiled_once() -> None:
    redact("a")
    first = list(module._compiled)
    redact("b")
    assert [pattern for pattern, _ in module._compiled] == [pattern for pattern, _ in first]
    assert all(isinstance(pattern, re.Pattern) for pattern, _ in first)


def test_a_secret_shows_only_when_it_is_revealed() -> None:
    secret = Secret("hunter2")
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        "%s" % secret,  # noqa: UP031 - logging formats this way
        repr([secret]),
        json.dumps({"s": secret}, default=str),
    ):
        assert "hunter2" not in shown
        assert "***" in shown
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_text_and_never_to_a_plain_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
