"""The digests of a body are written so that 0.1.0 reads its own, and no other is believed."""

from __future__ import annotations

import pytest

from queue_runtime.idempotency.body_digests import (
    added_part,
    exact_part,
    is_same_body,
    joined,
    read,
)


def test_0_1_0_finds_the_digest_that_it_knows() -> None:
    both = joined("exact", "content")
    assert (exact_part(both), added_part(both)) == ("exact", both)
    assert read(exact_part(both), added_part(both)) == both


def test_a_body_without_content_is_written_as_0_1_0_does() -> None:
    assert joined("exact", "") == "exact"
    assert (exact_part("exact"), added_part("exact")) == ("exact", "")


@pytest.mark.parametrize(
    "digests", [None, "", joined("another", "content"), "3:exact:content:more", "exact:content"]
)
def test_digests_of_another_body_or_version_do_not_count(digests: str | None) -> None:
    assert read("exact", digests) == "exact"


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("", "a", True),
        ("a", "", True),
        ("a", "a", True),
        ("a", "b", False),
        (joined("a", "c"), "a", True),
        (joined("a", "c"), "b", False),  # by the rule of 0.1.0
        (joined("a", "c"), joined("b", "c"), True),
        (joined("a", "c"), joined("b", "d"), False),
        (joined("a", "c"), joined("a", "d"), True),  # the same bytes, told by other fields
    ],
)
def test_bodies_are_compared_by_all_that_both_sides_tell(
    ours: str, theirs: str, same: bool
) -> None:
    assert is_same_body(ours, theirs) is same
    assert is_same_body(theirs, ours) is same
