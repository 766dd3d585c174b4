from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from queue_runtime.transports.sqs import batch_calls as sqs_calls
from queue_runtime.transports.sqs.wire import LARGEST_MESSAGE
from tests.lambda_rig import Sqs, refused

URL = "https://sqs.us-east-1.amazonaws.com/1/q"


def _changes(count: int) -> list[tuple[str, int]]:
    return [(f"r{at}", at) for at in range(count)]


def _entries(*sizes: int) -> list[dict[str, Any]]:
    return [{"MessageBody": f"{at:02}" + "x" * (size - 2)} for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("count", "calls"), [(0, []), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_ten_go_in_one_request(count: int, calls: list[int]) -> None:
    sqs = Sqs()
    assert sqs_calls.change_visibility(sqs, URL, _changes(count)) == {}
    assert [len(entries) for _, _, entries in sqs.calls] == calls
    assert sqs.visibility == dict(_changes(count))
    sqs = Sqs()
    assert sqs_calls.send(sqs, URL, _entries(*[9] * count)).failed == {}
    assert [len(entries) for _, _, entries in sqs.calls] == calls
    assert {url for _, url, _ in sqs.calls} <= {URL}


def test_a_send_request_never_exceeds_the_size_of_one_message() -> None:
    half = LARGEST_MESSAGE // 2
    sqs = Sqs()
    sqs_calls.send(sqs, URL, _entries(half, half, 9, 2 * half, half))
    assert [len(entries) for _, _, entries in sqs.calls] == [2, 1, 1, 1]


def test_each_failed_entry_is_named_by_its_position_among_all() -> None:
    sqs = Sqs(refuse={"r3": "ReceiptHandleIsInvalid", "r12": "InternalError"}, forget=["r5"])
    assert sqs_calls.change_visibility(sqs, URL, _changes(13)) == {
        3: "ReceiptHandleIsInvalid",
        5: "NoAnswer",
        12: "InternalError",
    }


def test_a_failure_without_a_code_or_an_empty_answer_is_still_a_failure() -> None:
    class Terse:
        def change_message_visibility_batch(self, **_: Any) -> Any:
            return {"Failed": [{"Id": "0"}]}

    assert sqs_calls.change_visibility(Terse(), URL, _changes(2)) == {0: "NoAnswer", 1: "NoAnswer"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refused("AccessDenied"), "AccessDenied"),
        (EndpointConnectionError(endpoint_url="https://x"), "EndpointConnectionError"),
    ],
)
def test_a_request_that_fails_as_a_whole_fails_its_entries_and_no_others(
    error: Exception, code: str
) -> None:
    sqs = Sqs(broken=error)
    assert sqs_calls.send(sqs, URL, _entries(*[9] * 12)).failed == dict.fromkeys(range(12), code)
    assert len(sqs.calls) == 2


def test_a_defect_is_not_taken_for_a_failed_request() -> None:
    with pytest.raises(ZeroDivisionError):
        sqs_calls.send(Sqs(broken=ZeroDivisionError()), URL, _entries(9))


def test_no_request_is_begun_when_there_is_no_time_left() -> None:
    time_left = iter([True, False, False])
    sqs = Sqs()
    failed = sqs_calls.change_visibility(sqs, URL, _changes(25), lambda: next(time_left))
    assert failed == dict.fromkeys(range(10, 25), sqs_calls.NO_TIME)
    assert len(sqs.calls) == 1
    assert sqs_calls.send(sqs, URL, _entries(9), lambda: False).failed == {0: sqs_calls.NO_TIME}
