"""AMQP values, frames and messages: what is written is read back, what is broken is refused."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.brokers.service_bus.content import (
    BATCH_FORMAT,
    parse_message,
    parse_messages,
    read_request,
    response,
)
from tests.brokers.service_bus.decode import MAX_DEPTH, decode, end_of, map_items
from tests.brokers.service_bus.encode import LONG, STRING, TIMESTAMP, UUID_CODE, encode
from tests.brokers.service_bus.errors import ProtocolError
from tests.brokers.service_bus.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    Frame,
    FrameReader,
    Header,
    encode_frame,
)
from tests.brokers.service_bus.performatives import Flow, Open, Transfer
from tests.brokers.service_bus.types import (
    Array,
    Byte,
    Described,
    Int,
    Opaque,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)


def bounded(kind: type[int], bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high).map(kind)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    bounded(UByte, 8, signed=False),
    bounded(UShort, 16, signed=False),
    bounded(UInt, 32, signed=False),
    bounded(ULong, 64, signed=False),
    bounded(Byte, 8, signed=True),
    bounded(Short, 16, signed=True),
    bounded(Int, 32, signed=True),
    bounded(int, 64, signed=True),
    bounded(Timestamp, 64, signed=True),
    st.floats(allow_nan=False),
    st.uuids(),
    st.binary(max_size=300),
    st.text(max_size=300),
    st.text(st.characters(codec="ascii"), max_size=40).map(Symbol),
    st.binary(min_size=16, max_size=16).map(lambda raw: Opaque(0x94, raw)),
    st.binary(min_size=4, max_size=4).map(lambda raw: Opaque(0x73, raw)),
    st.lists(bounded(int, 64, signed=True), max_size=5).map(lambda n: Array(LONG, tuple(n))),
    st.lists(st.uuids(), max_size=5).map(lambda u: Array(UUID_CODE, tuple(u))),
    st.lists(st.text(max_size=9), max_size=5).map(lambda t: Array(STRING, tuple(t))),
)
KEYS = st.text(max_size=9) | st.text(st.characters(codec="ascii"), max_size=9).map(Symbol)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(KEYS, inner, max_size=4)
        | inner.map(lambda value: Described(ULong(0x77), value))
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal in value and in AMQP type."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(sorted(left), sorted(right)) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, Described):
        return same(left.descriptor, right.descriptor) and same(left.value, right.value)
    return bool(left == right)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_values_come_back_with_their_types(value: Any) -> None:
    encoded = encode(value)
    assert same(decode(encoded)[0], value)
    assert decode(encoded)[1] == end_of(encoded, 0) == len(encoded)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.data())
def test_a_value_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = encode(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(ProtocolError):
        decode(cut)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_junk_is_decoded_or_refused_but_never_crashes(junk: bytes) -> None:
    for read in (decode, end_of, map_items):
        try:
            read(junk, 0)
        except ProtocolError:
            continue


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_a_flipped_byte_is_decoded_or_refused_but_never_crashes(
    value: Any, data: st.DataObject
) -> None:
    encoded = bytearray(encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        decode(bytes(encoded))


@pytest.mark.parametrize(
    "claim",
    [
        b"\xb0\xff\xff\xff\xff",
        b"\xd0\x00\x00\x00\x08\xff\xff\xff\xff",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xd1\x00\x00\x00\x08\x00\x00\x00\x03\x40\x40\x40\x40",
        b"\xff",
    ],
    ids=["binary", "list", "array of nulls", "odd map", "unknown code"],
)
def test_a_size_is_not_believed_before_it_is_checked(claim: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(claim)


def test_nesting_ends_somewhere() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(ProtocolError, match="deeper"):
        decode(encode(deep))
    with pytest.raises(ProtocolError, match="deeper"):
        end_of(b"\x00" * 5000, 0)


def test_arrays_of_times_are_read() -> None:
    value = Array(TIMESTAMP, (Timestamp(1), Timestamp(2)))
    assert decode(encode(value))[0] == value


# --- frames


def test_frames_are_found_whatever_the_pieces() -> None:
    flow = Flow(None, 1, 2, 3, handle=4)
    stream = AMQP_HEADER + encode_frame(3, flow) + EMPTY_FRAME
    stream += encode_frame(0, Transfer(1, more=True), b"payload")
    whole = list(FrameReader(4096).feed(stream))
    reader = FrameReader(4096)
    single = [item for byte in stream for item in reader.feed(bytes((byte,)))]
    assert whole == single
    assert whole[:3] == [Header(AMQP_HEADER), Frame(3, flow), Frame(0, None)]
    assert isinstance(whole[3], Frame)
    assert whole[3].payload == b"payload"


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"\x00\x00\x00\x07\x02\x00\x00\x00", "7 bytes"),
        (b"\xff\xff\xff\xff\x02\x00\x00\x00", "4294967295 bytes"),
        (b"\x00\x00\x00\x08\x01\x00\x00\x00", "offset of 1"),
        (b"\x00\x00\x00\x08\x03\x00\x00\x00", "offset of 3"),
        (b"\x00\x00\x00\x08\x02\x07\x00\x00", "type 7"),
    ],
)
def test_a_bad_frame_head_is_refused_before_its_body_comes(head: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        list(FrameReader(4096).feed(head))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ([], "container_id is missing"),
        ([7], "container_id is a int"),
        (["me", None, "big"], "max_frame_size is a str"),
        (["me"] * 11, "11 fields"),
    ],
)
def test_a_performative_is_checked_field_by_field(fields: list[Any], complaint: str) -> None:
    body = encode(Described(ULong(Open.code), fields))
    head = (8 + len(body)).to_bytes(4, "big") + b"\x02\x00\x00\x00"
    with pytest.raises(ProtocolError, match=complaint):
        list(FrameReader(4096).feed(head + body))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_a_stream_of_junk_is_read_or_refused_and_never_kept(pieces: list[bytes]) -> None:
    reader = FrameReader(512)
    try:
        for piece in pieces:
            list(reader.feed(piece))
            assert len(reader._buffer) <= 512 + len(piece)
    except ProtocolError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 255), st.lists(SCALARS, max_size=14), st.binary(max_size=20))
def test_any_described_list_is_a_performative_or_refused(
    code: int, fields: list[Any], payload: bytes
) -> None:
    body = encode(Described(ULong(code), fields)) + payload
    head = (8 + len(body)).to_bytes(4, "big") + b"\x02\x00\x00\x00"
    try:
        [frame] = FrameReader(65536).feed(head + body)
    except ProtocolError:
        return
    assert isinstance(frame, Frame)
    assert frame.body is not None
    assert frame.payload == payload


# --- messages


def section(code: int, value: Any) -> bytes:
    return encode(Described(ULong(code), value))


def test_values_of_unknown_types_survive_the_broker() -> None:
    decimal = Opaque(0x94, bytes(range(16)))
    body = section(0x77, {"price": decimal})
    application = section(0x74, {"amount": decimal, "name": "n"})
    content = parse_message(section(0x72, {Symbol("x-mine"): decimal}) + application + body)
    again = parse_message(content.render({"x-opt-sequence-number": 5}, delivery_count=2))
    assert again.body == body
    assert again.application_properties == {"amount": decimal, "name": "n"}
    assert decode(again.annotations["x-mine"])[0] == decimal
    assert decode(again.annotations["x-opt-sequence-number"])[0] == 5
    assert again.header[4] == 2


def test_a_batch_is_several_messages() -> None:
    inner = [section(0x73, [f"m{n}"]) + section(0x75, b"x") for n in range(3)]
    payload = b"".join(section(0x75, message) for message in inner)
    found = parse_messages(payload, BATCH_FORMAT)
    assert [content.message_id for content in found] == ["m0", "m1", "m2"]
    assert len(parse_messages(payload, 0)) == 1


def test_dead_letter_reasons_replace_those_that_are_there() -> None:
    content = parse_message(section(0x74, {"DeadLetterReason": "old", "k": 1}))
    changed = content.with_application_properties({"DeadLetterReason": "new"})
    assert changed.application_properties == {"DeadLetterReason": "new", "k": 1}


def test_a_response_is_read_back() -> None:
    identifier = UUID(int=7)
    payload = response(identifier, {"statusCode": Int(200)}, {"k": 1})
    properties, application, value = read_request(payload)
    assert (properties[5], application, value) == (identifier, {"statusCode": 200}, {"k": 1})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0x70, 0x79), VALUES), max_size=4),
    st.binary(max_size=10),
    st.sampled_from([0, BATCH_FORMAT]),
)
def test_any_payload_is_a_message_that_can_be_delivered_or_refused(
    sections: list[tuple[int, Any]], tail: bytes, kind: int
) -> None:
    payload = b"".join(section(code, value) for code, value in sections) + tail
    try:
        contents = parse_messages(payload, kind)
        for content in contents:
            _ = content.ttl, content.scheduled_for
    except ProtocolError:
        return
    for content in contents:
        parse_message(content.render({"x-opt-sequence-number": 1}, 0))
