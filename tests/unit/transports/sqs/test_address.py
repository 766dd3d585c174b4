import pytest

from queue_runtime.errors import QueueNotFoundError
from queue_runtime.transports.sqs.address import SqsAddress, read_address

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqs://orders", SqsAddress("orders")),
        ("sqs://Orders_2-a.fifo", SqsAddress("Orders_2-a.fifo")),
        (f"sqs://{ACCOUNT}/orders", SqsAddress("orders", ACCOUNT)),
        (f"sqs://arn:aws:sqs:eu-west-1:{ACCOUNT}:orders.fifo",
         SqsAddress("orders.fifo", ACCOUNT, "eu-west-1")),
        (f"sqs://https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/orders",
         SqsAddress("orders", ACCOUNT, "eu-west-1")),
        (f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/orders",
         SqsAddress("orders", ACCOUNT, "cn-north-1")),
        ("sqs://http://localhost:4566/000000000000/orders",
         SqsAddress("orders", "000000000000", "", "http://localhost:4566")),
    ],
)  # fmt: skip
def test_a_queue_is_named_in_four_ways(url: str, address: SqsAddress) -> None:
    assert read_address(url) == address
    assert address.ordered == url.endswith(".fifo")


@pytest.mark.parametrize(
    "url",
    [
        "sqs://",
        "sqs://or ders",
        "sqs://orders?x=1",
        "sqs://orders.fifo.fifo",
        "sqs://.fifo",
        "sqs://account/orders",
        f"sqs://{ACCOUNT}/",
        f"sqs://{'x' * 81}",
        f"sqs://{ACCOUNT}/a/b",
        "sqs://https://sqs.eu-west-1.amazonaws.com/orders?x=1",
        "sqs://\N{SNOWMAN}",
    ],
)
def test_what_is_no_queue_is_refused_with_the_forms(url: str) -> None:
    with pytest.raises(QueueNotFoundError, match=r"write sqs://orders, .*sqs://arn:aws"):
        read_address(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(QueueNotFoundError) as refused:
        read_address("sqs://https://me:SECRET@host/1/orders")
    assert "SECRET" not in str(refused.value)
