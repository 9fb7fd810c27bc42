"""Bodies and queries with fields: counted as they arrive, refused as soon as they are too much, kept in memory only."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from livetalk.server.limits import MIB, Limits
from livetalk.server.problems import ProblemError

FORM, URLENCODED, JSON = "multipart/form-data", "application/x-www-form-urlencoded", "application/json"

_TEXT_BODY_BYTES = MIB
"""Bodies that hold only short texts."""
_PART_HEADERS = 8
_PART_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field may be: a text of so many characters, or a file of so many bytes."""

    kind: Literal["text", "picture", "sound"]
    most: int


class Fields:
    """The fields of a body, of which only known ones are taken, each once."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._contents: dict[str, bytearray] = {}

    def begin(self, name: str) -> Rule:
        rule = self._rules.get(name)
        if rule is None:
            raise ProblemError(
                "bad_field", f"There is no field {name[:40]!r} here. There are: {', '.join(self._rules)}."
            )
        if name in self._contents:
            raise ProblemError("bad_field", f"The field `{name}` is there twice; send it once.")
        self._contents[name] = bytearray()
        return rule

    def add(self, name: str, data: bytes) -> None:
        rule, content = self._rules[name], self._contents[name]
        content += data
        if rule.kind == "text":
            if len(content) > 4 * rule.most:  # no character of UTF-8 is longer
                raise _text_too_long(name, rule.most)
        elif len(content) > rule.most:
            raise ProblemError(
                "body_too_large", f"The field `{name}` is larger than {in_words(rule.most)}. Send a smaller file."
            )

    def file(self, name: str) -> bytes | None:
        """None if it is missing or empty."""
        return bytes(self._contents.get(name, b"")) or None

    def text(self, name: str) -> str | None:
        """None if it is missing or blank."""
        content = self._contents.get(name)
        if content is None:
            return None
        try:
            return _checked_text(name, content.decode(), self._rules[name].most)
        except UnicodeDecodeError:
            raise ProblemError("bad_field", f"The field `{name}` is not UTF-8.") from None


async def read_fields(request: Request, rules: Mapping[str, Rule], limits: Limits) -> Fields:
    """The fields of a form, of a JSON object, or of no body at all.

    Raises:
        ProblemError: the body is of another type, malformed, too large, or has other fields.
    """
    fields = Fields(rules)
    kind, options = content_type(request)
    if kind == FORM:
        await _read_multipart(request, options.get("boundary", ""), fields, limits)
        return fields
    if kind not in (URLENCODED, JSON):
        if (
            not kind
            and "transfer-encoding" not in request.headers
            and request.headers.get("content-length", "0") == "0"
        ):
            return fields
        shown = f"{kind[:80]!r} is" if kind else "A body without a Content-Type is"
        raise ProblemError("unsupported_media_type", f"{shown} not accepted here. Send {FORM}, {URLENCODED} or {JSON}.")
    content = bytearray()
    await receive(request, _TEXT_BODY_BYTES, limits.body_s, content.extend)
    for name, value in _urlencoded(content) if kind == URLENCODED else _json(content):
        if fields.begin(name).kind != "text":
            raise ProblemError("bad_field", f"The field `{name}` is a file; send it as a part of {FORM}.")
        fields.add(name, value)
    return fields


def read_query(request: Request, most: Mapping[str, int]) -> dict[str, str]:
    """The query's fields, each at most so many characters long.

    Raises:
        ProblemError: there are others, or one is too long.
    """
    try:
        query = request.scope["query_string"].decode("ascii")
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16, errors="strict")
    except ValueError:
        raise ProblemError("malformed", "The query of the address is malformed.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in most or name in found:
            raise ProblemError("bad_field", f"The query may not have {name[:40]!r} here, or not twice.")
        text = _checked_text(name, value, most[name])
        if text is not None:
            found[name] = text
    return found


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """Type and parameters, the type and the parameters' names in lower case; an empty type if there is none."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind.decode("latin-1"), {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()
    }


async def receive(
    request: Request, most: int, seconds: float, take: Callable[[bytes], object], *, excess: ProblemError | None = None
) -> None:
    """Hand on the body to ``take`` as it comes.

    Raises:
        ProblemError: ``excess`` as soon as there are more than ``most`` bytes; it takes longer than ``seconds``.
    """
    excess = excess or ProblemError("body_too_large", f"The body is larger than {in_words(most)}. Send less.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError("unsupported_media_type", "The body is compressed; send it as it is.")
    if int(request.headers.get("content-length", "0")) > most:
        raise excess
    received = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                received += len(chunk)
                if received > most:
                    raise excess
                take(chunk)
    except TimeoutError:
        raise ProblemError(
            "request_timeout", f"The body was not complete after {seconds:g} seconds. Send it faster."
        ) from None
    except ClientDisconnect:
        raise ProblemError("client_gone", "The connection was closed before the body was complete.") from None


def in_words(count: int) -> str:
    """So many bytes, for people."""
    return f"{count / MIB:g} MiB" if count >= MIB else f"{count} bytes"


async def _read_multipart(request: Request, boundary: str, fields: Fields, limits: Limits) -> None:
    if not boundary:
        raise ProblemError("malformed", f"The Content-Type names no boundary; {FORM} needs one.")
    parts = _Parts(fields)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), parts.callbacks())  # type: ignore[arg-type]
        await receive(request, limits.body_bytes, limits.body_s, parser.write)
    except FormParserError:
        raise ProblemError("malformed", f"The body is not {FORM} with the boundary that its type names.") from None
    if not parts.ended:
        raise ProblemError("malformed", "The body ends before its last boundary; it was cut short.")


class _Parts:
    """The parts of one multipart body, each checked as it comes."""

    def __init__(self, fields: Fields) -> None:
        self.ended = False
        self._fields = fields
        self._headers: dict[str, str] = {}
        self._header, self._value = bytearray(), bytearray()
        self._name = ""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers.clear()

    def _add_header(self, to: bytearray, data: bytes) -> None:
        to += data
        if len(to) > _PART_HEADER_BYTES or len(self._headers) > _PART_HEADERS:
            raise ProblemError("malformed", "A part of the body has more, or longer, headers than a form needs.")

    def _end_header(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get("content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise ProblemError("malformed", "A part of the body lacks `Content-Disposition: form-data` with a name.")
        self._name = options[b"name"].decode("latin-1")
        rule = self._fields.begin(self._name)
        kind = parse_options_header(self._headers.get("content-type"))[0].decode("latin-1")
        if not _suits(kind, rule):
            raise ProblemError(
                "unsupported_media_type", f"The field `{self._name}` is a {rule.kind} and can't be {kind[:80]!r}."
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._fields.add(self._name, data[start:end])

    def _end(self) -> None:
        self.ended = True


def _suits(kind: str, rule: Rule) -> bool:
    """Whether a part of this type can be what the rule asks for; nothing and "just bytes" leave it to the decoder."""
    if rule.kind == "text":
        return kind in ("", "text/plain", JSON)
    if kind in ("", "application/octet-stream"):
        return True
    if rule.kind == "picture":
        return kind.startswith("image/") and kind != "image/svg+xml"
    # Browsers record sound in containers that they call video.
    return kind.startswith("audio/") or kind in ("video/webm", "video/mp4", "application/ogg")


def _text_too_long(name: str, most: int) -> ProblemError:
    return ProblemError("text_too_long", f"The field `{name}` is longer than {most} characters. Shorten it.")


def _urlencoded(content: bytearray) -> list[tuple[str, bytes]]:
    try:
        pairs = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(content),
            max_num_fields=16,
            errors="strict",
        )
    except ValueError:
        raise ProblemError("malformed", f"The body is not {URLENCODED}.") from None
    return [(name, value.encode()) for name, value in pairs]


def _json(content: bytearray) -> list[tuple[str, bytes]]:
    try:
        # Pairs instead of a dict, in which a name that stands there twice would be one; arrays become lists.
        parsed = json.loads(content.decode(), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise ProblemError("malformed", "The body is not JSON, or JSON that is nested too deeply.") from None
    if not isinstance(parsed, tuple):
        raise ProblemError("malformed", "The JSON in the body must be an object whose names are those of the fields.")
    pairs = []
    for name, value in parsed:
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise ProblemError("bad_field", f"The field {name[:40]!r} must be a text or a number.")
        if value is not None:
            try:
                pairs.append((name, (value if isinstance(value, str) else repr(value)).encode()))
            except UnicodeEncodeError:
                raise ProblemError("malformed", "The JSON in the body holds half of a surrogate pair.") from None
    return pairs


def _checked_text(name: str, text: str, most: int) -> str | None:
    """None for a blank one."""
    if len(text) > most:
        raise _text_too_long(name, most)
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\r\t" for letter in text):
        raise ProblemError("bad_field", f"The field `{name}` holds control characters.")
    return text.strip() or None
