"""Escapes and cuts text from outside, for log lines, spans and terminals."""

from __future__ import annotations

import re
from typing import Final

# Characters of one value. Ids of both services have 128 at most; a longer text was not meant well.
MOST: Final = 1_000
# More deliveries than any message has; a larger integer breaks exporters, and str() from 4,300
# digits on.
_MOST_NUMBER: Final = 2**31 - 1
# Control characters (a terminal obeys them), line and paragraph separators (a reader of lines ends
# one there), marks that turn the direction of text, and halves of surrogate pairs, which UTF-8 has
# no form for. Joiners and wide spaces stay: some scripts cannot be read without them.
_UNFIT: Final = (
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def printable(value: object, most: int = MOST) -> str:
    r"""Escape and cut a value's text to `most` characters; never raises.

    A newline becomes `\n`, a terminal's escape `\x1b`, half of a surrogate pair `\ud800`. A text
    that was cut ends in its own length.
    """
    text = value if isinstance(value, str) else _text_of(value)
    length = len(text)
    if length <= most and text.isprintable():
        return text
    # Compiled by re's own cache: a start that shows nothing of the kind does not pay for it.
    shown = re.sub(_UNFIT, _escaped, text[:most])
    if length <= most and len(shown) <= most:
        return shown
    mark = f"… ({length} characters)"
    return shown[: most - len(mark)] + mark


def bounded(number: int) -> int:
    """Give a number that every log reader and exporter can hold."""
    return max(-_MOST_NUMBER, min(number, _MOST_NUMBER))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # an integer of 4,300 digits, or a class of the user's
        return f"<{type(value).__name__}>"


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
