"""What services send, made fit to be used: texts, lists of models, base64, times to wait; and trouble in plain words.

Most of it has a twin in interbench, which never imports livetalk, nor livetalk it: ``tests/test_twins.py`` holds the
pairs to the same answers.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from email.utils import parsedate_to_datetime
from typing import Any

_LONGEST_WAIT_S = 366 * 24 * 3600.0
_LISTS = ("data", "models", "result", "results", "items")
_NAMES = ("id", "name", "model", "key")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED\]?[^:]*: ([^(]+)")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|UNKNOWN_PROTOCOL|HTTP_REQUEST|packet length too long")
_TLS_RECORD = re.compile(r"illegal status line: bytearray\(b'\\x1[4567]\\x03")
_EXCERPT = 300


class WholeCharacters:
    """Text whose characters may be cut in two between its pieces, as JSON escapes allow (``\\ud83d``, ``\\ude00``)."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The characters that are complete with this piece; halves that have no other become U+FFFD."""
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return mended(text.removesuffix(self._half))


def mended(text: str) -> str:
    """A text that can be encoded: halves of characters joined, or replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shown(text: str) -> str:
    """Foreign text on one line of bounded length, without anything that steers a terminal."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _EXCERPT]).split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def retry_after(value: str | None, now: dt.datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait (RFC 9110, section 10.2.3): a number of them, or a date.

    None where there is nothing to heed: no header, no time to come, or something that is no time. Its twin, which a
    test compares with it, is ``retry_after`` in ``interbench.base.http``.
    """
    value = (value or "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value, re.ASCII):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
            seconds = (when - (now or dt.datetime.now(dt.UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(seconds, _LONGEST_WAIT_S) if seconds > 0 else None


def served_models(answer: object) -> dict[str, dict[str, Any]] | None:
    """The models in an answer to ``GET /v1/models``, by name; None where it is no list of models, or not all of it.

    Known shapes: OpenAI's ``{"data": [{"id"}]}``, a bare list, lists under other names, entries with a ``name`` or that
    are names, and objects by name. Its twin, which a test compares with it, is ``served_models`` in
    ``interbench.base.models_list``.
    """
    if isinstance(answer, dict):
        if answer.get("has_more") is True:
            return None
        found = next((answer[name] for name in _LISTS if isinstance(answer.get(name), (list, dict))), None)
        if isinstance(found, dict):
            return {name: entry if isinstance(entry, dict) else {} for name, entry in found.items()} or None
        answer = found
    models: dict[str, dict[str, Any]] = {}
    for entry in answer if isinstance(answer, list) else ():
        if isinstance(entry, str) and entry:
            models[entry] = {}
        elif isinstance(entry, dict):
            names = (entry.get(key) for key in _NAMES)
            name = next((name for name in names if isinstance(name, str) and name), None)
            if name is not None:
                models[name] = entry
    return models or None


def decoded(text: str) -> bytes:
    """Bytes in base64 in any of its legal spellings (RFC 4648): either alphabet, with or without line breaks and
    padding, and behind the head of a ``data:`` URL. Its twin, which a test compares with it, is ``decoded`` in
    ``interbench.base.foreign``.

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


def trouble(error: Exception) -> str:
    """What kept a connection from coming about, in plain words, with the name that httpx gives it.

    Its twin, which a test compares with it, is ``trouble`` in ``interbench.base.http``.
    """
    text = str(error)
    if untrusted := _UNTRUSTED.search(text):
        return (
            f"its certificate is not accepted: {untrusted[1].strip()}. If it is yours, name the file of its authority "
            f"in the environment variable SSL_CERT_FILE"
        )
    if _NO_TLS.search(text):
        return "what answers there does not speak TLS; does the address begin with http:// instead of https://?"
    if _TLS_RECORD.search(text):
        return "what answers there speaks TLS; does the address begin with https:// instead of http://?"
    said = shown(mended(text))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
