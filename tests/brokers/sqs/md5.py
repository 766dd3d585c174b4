"""The digests that producers compare with their own, byte for byte as the service makes them."""

from __future__ import annotations

from base64 import b64decode
from hashlib import md5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STRING, BINARY = b"\x01", b"\x02"


def body_md5(body: str) -> str:
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def attributes_md5(attributes: Mapping[str, Mapping[str, str]]) -> str:
    """Digest of names, types and values in order of name; the order sent does not matter."""
    digest = md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        digest.update(_sized(name.encode()) + _sized(value["DataType"].encode()))
        if "BinaryValue" in value:
            digest.update(BINARY + _sized(b64decode(value["BinaryValue"])))
        else:
            digest.update(STRING + _sized(value["StringValue"].encode()))
    return digest.hexdigest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
