"""What comes from outside, made fit to be kept: text that can be stored, numbers to reckon with, JSON, base64.

Every door through which a server, a process or a plug-in hands something in goes through here, so that half a
character, a figure without end or a number in foreign digits is dealt with once.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 20_000
"""Characters of one text that are kept of a service's messages and of what a system says."""
MAX_NAME = 300
"""Characters of a name, version or code that are kept."""
_DEEPEST = 200
"""Levels of lists and objects in an answer; what is nested deeper is no answer of any service."""
_PLAIN = frozenset({int, float, bool, type(None)})
"""Types of values that need no mending."""
_DECIMAL = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


class NotJsonError(ValueError):
    """An answer is not JSON, or is nested deeper than any real one."""


def mended(text: str, most: int | None = None) -> str:
    """A text that can be stored and printed as UTF-8.

    Halves of characters are joined where they stand together (``\\ud83d\\ude00``, as JSON allows) and replaced by
    U+FFFD where they stand alone; so is NUL, at which other programs and databases end a text.

    Args:
        most: characters to keep; the last of a longer text becomes an ellipsis.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    if text.isascii():  # most are, and know it
        return text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def mended_json(value: Any, most: int | None = None) -> Any:
    """JSON-like ``value`` with every text in it, names too, :func:`mended`.

    Raises:
        NotJsonError: it is nested deeper than any answer.
    """
    return _mended(value, most, 0)


def _mended(value: Any, most: int | None, depth: int) -> Any:
    if type(value) in _PLAIN:  # a server may list tens of thousands of tokens: by far the quickest test comes first
        return value
    if isinstance(value, str):
        return mended(value, most)
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth == _DEEPEST:
        raise NotJsonError(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(value, Mapping):
        return {mended(str(key), most): _mended(item, most, depth + 1) for key, item in value.items()}
    return [item if type(item) in _PLAIN else _mended(item, most, depth + 1) for item in value]


def kept_json(value: Any) -> Any:
    """``value`` as JSON that any reader takes: texts mended, numbers that no JSON has (NaN, infinities) as words."""
    return _finite(mended_json(json.loads(json.dumps(value, default=str))))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def parsed_json(data: bytes | bytearray | str, *, piece: bool = False) -> Any:
    """JSON from outside, its texts mended. Bytes that are no UTF-8 and a byte order mark do no harm.

    Args:
        piece: the texts in it may begin or end with half a character whose other half is in the next piece; whoever
            joins them mends them.

    Raises:
        NotJsonError: it is none.
    """
    text = data if isinstance(data, str) else bytes(data).decode(errors="replace")
    try:
        value = json.loads(text.removeprefix("\ufeff"))
        return value if piece else mended_json(value)
    except NotJsonError:
        raise
    except RecursionError:
        raise NotJsonError(f"it is nested more than {_DEEPEST} levels deep") from None
    except ValueError as error:
        raise NotJsonError(str(error)) from None


def number(value: object, least: float = 0.0, most: float = math.inf) -> float | None:
    """A number from outside, or in a text or header in plain decimal digits; None where there is none to reckon with.

    Never NaN, never infinite, never outside of ``least`` to ``most``. Truth values are no numbers, and neither are
    digits other than 0 to 9.
    """
    if isinstance(value, str):
        value = value.strip(" \t")
        found = float(value) if _DECIMAL.fullmatch(value) else math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            return None
    else:
        return None
    return found if math.isfinite(found) and least <= found <= most else None


def whole(value: object, least: int = 0, most: int = 2**53) -> int | None:
    """Like :func:`number`, for what can only be counted: 36 and 36.0, but not 36.5."""
    found = number(value, least, most)
    return int(found) if found is not None and found == int(found) else None


def listed(value: object) -> list[Any]:
    """``value`` if it is a list; an empty one for anything else, which a loop could stumble over."""
    return value if isinstance(value, list) else []


def mapped(value: object) -> dict[str, Any]:
    """``value`` if it is an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def decoded(text: str) -> bytes:
    """Bytes in base64 in any of its legal spellings (RFC 4648): either alphabet, with or without line breaks and
    padding, and behind the head of a ``data:`` URL. Its twin, which a test compares with it, is ``decoded`` in
    ``livetalk.thinkers.foreign``.

    Raises:
        ValueError: it is none.
    """
    if head := _DATA_URL.match(text):
        text = text[head.end() :]
    plain = text.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\v\f")
    letters = plain.rstrip(b"=")
    if len(plain) - len(letters) > 2 or len(letters) % 4 == 1:
        raise ValueError("it is not base64")
    return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
