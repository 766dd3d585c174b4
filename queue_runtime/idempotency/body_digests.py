"""How the digests of a body are written down, so that 0.1.0 reads its own part of them.

0.1.0 knows one digest: that of the body's bytes. Records keep it where they had it, in `payload`,
since processes of both versions may work on one store. What was added since is in `body_digests`,
a text that begins with its version. Where 0.1.0 writes over a record that has both, the second
stays behind: it counts only while it repeats the first.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 2
_PREFIX: Final = f"{VERSION}:"


def joined(exact: str, content: str) -> str:
    """Write down the digests of a body's bytes and of its content; of the bytes, if it has none."""
    return f"{_PREFIX}{exact}:{content}" if content else exact


def exact_part(payload: str) -> str:
    """Give the digest of the bytes, the one that 0.1.0 wrote and compares."""
    return _split(payload)[0]


def added_part(payload: str) -> str:
    """Give what goes into `body_digests`: empty where there is nothing that 0.1.0 does not know."""
    return payload if payload.startswith(_PREFIX) else ""


def read(exact: str, digests: str | None) -> str:
    """Put a record's two fields together; digests of another body or version do not count."""
    return digests if digests and exact_part(digests) == exact else exact


def is_same_body(ours: str, theirs: str) -> bool:
    """Compare by content where both tell it, else by 0.1.0's rule; no digest fits every body."""
    if not ours or not theirs:
        return True
    exact, content = _split(ours)
    their_exact, their_content = _split(theirs)
    return exact == their_exact or (bool(content) and content == their_content)


def _split(payload: str) -> tuple[str, str]:
    if not payload.startswith(_PREFIX):
        return payload, ""
    exact, _, content = payload.removeprefix(_PREFIX).partition(":")
    return exact, content
