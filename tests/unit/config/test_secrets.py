from __future__ import annotations

import copy
import json
import pickle
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
        ("redis://hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("redis://u:a,b@cache", "redis://u:***@cache"),
        ("dynamodb://t?aws_secret_access_key=abc", "dynamodb://t?aws_secret_access_key=***"),
        ("sqlite:///x.db?password=abc", "sqlite:///x.db?password=***"),
        (
            "https://q/?token=abc&api_key=d&code=e&n=1",
            "https://q/?token=***&api_key=***&code=***&n=1",
        ),
        ("Server=x;Pwd=a b,c;Database=y", "Server=x;Pwd=***;Database=y"),
        ("password='a, b c' and more", "password='***' and more"),
        ("client-secret=abc X-Api-Key: abc", "client-secret=*** X-Api-Key: ***"),
        (
            "InstrumentationKey=0-1;IngestionEndpoint=https://x/",
            "InstrumentationKey=***;IngestionEndpoint=https://x/",
        ),
        ("curl -H Bearer abc.def-ghi", "curl -H Bearer ***"),
        ("Proxy-Authorization: Basic YWJjOmRlZg==", "Proxy-Authorization: *** ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln is over", "*** is over"),
        ("hvs.CAESIJ1234567890", "***"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
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
        "vault://secret/prod/orders#connection by aws-secretsmanager://orders#url",
        "secret://vault/bus: cannot be resolved",
        "aws_access_key_id=AKIA",
        "the lock token of message 7 has ended",
        "--concurrency is no setting; did you mean QUEUE_CONCURRENCY?",
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


_SAID = st.sampled_from(
    [
        "password",
        "Pwd",
        "AWS_SECRET_ACCESS_KEY",
        "client-secret",
        "apiKey",
        "x-api-key",
        "token",
        "SharedAccessKey",
        "AccountKey",
        "refresh_token",
        "sas",
        "sig",
        "InstrumentationKey",
    ]
)
_WORTH = st.text("ABCDEFGHxyz0123456789+/=.,-_~!", min_size=4, max_size=40).filter(
    lambda text: text[0].isalnum()
)


@given(name=_SAID, value=_WORTH, form=st.integers(0, 6), beside=st.text("ab =:;/", max_size=10))
def test_what_looks_like_a_credential_is_hidden_in_every_notation(
    name: str, value: str, form: int, beside: str
) -> None:
    # `user:12/…@` is a host, its port and a path with an @ as well.
    kept = value.replace("/", "") if form > 4 else value
    text = [
        f"https://host/path?a=1&{name}={value}&b=2",
        f"Endpoint=sb://host/;{name}={value};EntityPath=q",
        json.dumps({"a": 1, name: value}),
        json.dumps(json.dumps({name: value})),
        f"{name} = '{value}'",
        f"scheme://user:{kept}@host/0",
        f"scheme://{kept}@host/0",
    ][form]
    assert kept not in redact(f"{beside} {text} {beside}").replace(beside, "")


@given(st.text(max_size=300))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    shown = redact(text)
    assert redact(shown) == shown


def test_a_long_text_of_beginnings_costs_no_more_than_its_length() -> None:
    for piece in ("password", "://", "token=", "a:", "password=x;", "://a:", "eyJ", "key "):
        redact(piece * 20_000)  # what is not linear would take minutes, and end at the time limit


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
        f"{secret:>10}",
        "{:s}".format(secret),  # noqa: UP032
        f"{copy.copy(secret)} {copy.deepcopy([secret])}",
    ):
        assert "hunter2" not in shown
        assert "***" in shown
    assert secret.reveal() == "hunter2"


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps([Secret("hunter2")])
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("hunter2"), protocol=2)


def test_secrets_compare_by_text_and_never_to_a_plain_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
