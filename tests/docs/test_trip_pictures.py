"""The pictures of docs/architecture.md are what a message's trip really is."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from scripts import generated, trip_picture
from scripts.trip_calls import TRIPS, Call, holds_the_message

PAGE = generated.DOCS / "architecture.md"


def test_the_pictures_are_those_of_the_code() -> None:
    # A process of its own: other tests may have asked this one's hosts to be observed.
    command = [sys.executable, "-m", "scripts.trip_picture", "--check"]
    ran = subprocess.run(command, cwd=generated.ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("name", TRIPS)
def test_the_page_shows_each_picture(name: str) -> None:
    assert f"](architecture/{trip_picture.picture_of(name).name})" in PAGE.read_text()


def test_a_poller_s_message_passes_its_parts_in_one_direction() -> None:
    drawn = trip_picture.picture_of("poller").read_text()
    parts = ["receiver", "runner", "ready_queue", "calls", "settler"]
    places = [drawn.index(f">hosts/poller/{part}<") for part in parts]
    assert places == sorted(places)
    assert ">hosts/poller/poller<" not in drawn


def test_an_arrow_has_the_number_of_its_calls() -> None:
    calls = [Call("host", None), Call("wire", "host"), Call("wire", "host"), Call("host", None)]
    assert trip_picture.arrows_of(calls) == {
        trip_picture.Arrow("host", "wire", handed_over=False): 2,
        trip_picture.Arrow("wire", "host", handed_over=True): 1,
    }
    assert ElementTree.fromstring(trip_picture.svg("A <trip>", calls)) is not None  # ours


def test_a_call_with_another_message_is_not_of_the_trip() -> None:
    assert holds_the_message([{"body": b"the message of the trip"}])
    assert not holds_the_message([{"body": b"another"}])
