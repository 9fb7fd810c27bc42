"""Reading what clients send: counted as it arrives, refused as soon as it is too much, kept in memory only.

Nothing here uses a file's name, opens a path or an address, or decodes media (`livetalk.server.media` does, elsewhere).
"""

from __future__ import annotations

import asyncio
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

import numpy as np
import pydantic_core
import soxr
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from livetalk.audio import Samples
from livetalk.config import AUDIO_RATE
from livetalk.server.limits import MIB, Limits
from livetalk.server.problems import ProblemError

FORM, URLENCODED, JSON = "multipart/form-data", "application/x-www-form-urlencoded", "application/json"
FIELD_TYPES = (FORM, URLENCODED, JSON)

#: Bodies that hold only short texts.
_TEXT_BODY_BYTES = MIB
_L16_RATES = range(8_000, 96_001)
_L16_CHANNELS = range(1, 9)
_MAX_SEED = 2**63 - 1
_MAX_PLAYED_S = 86_400.0


@dataclass(frozen=True)
class Rule:
    """What a field may be: a text of so many characters, or a file of so many bytes."""

    kind: Literal["text", "picture", "sound"]
    most: int


@dataclass(frozen=True)
class Opening:
    """What a conversation is opened with."""

    image: bytes | None
    prompt: str | None
    persona: str
    voice: str | None
    seed: int


@dataclass(frozen=True)
class TurnUpload:
    """A user's turn as it was sent: `audio` is a file, `samples` is sound that needed no decoding."""

    text: str | None
    audio: bytes | None
    samples: Samples | None
    played_s: float | None


async def read_opening(request: Request, limits: Limits) -> Opening:
    """
    Raises:
        ProblemError: the body is not acceptable.
    """
    refuse_query(request)
    fields = await _read_fields(
        request,
        {
            "image": Rule("picture", limits.picture_bytes),
            "prompt": Rule("text", limits.prompt_chars),
            "persona": Rule("text", limits.persona_chars),
            "voice": Rule("text", limits.voice_chars),
            "seed": Rule("text", 20),
        },
        limits,
    )
    seed = fields.text("seed")
    return Opening(
        image=fields.file("image"),
        prompt=fields.text("prompt"),
        persona=fields.text("persona") or "",
        voice=_voice(fields.text("voice")),
        seed=0 if seed is None else _whole_number("seed", seed, _MAX_SEED),
    )


async def read_turn(request: Request, limits: Limits) -> TurnUpload:
    """A turn in fields, or sound as the body itself.

    Raises:
        ProblemError: the body is not acceptable, or says nothing.
    """
    kind, options = _content_type(request)
    if kind.startswith("audio/"):
        query = _query(request, {"text": limits.text_chars, "played_s": 20})
        text, played = query.get("text"), _seconds("played_s", query.get("played_s"))
        if kind == "audio/l16":
            samples = await _read_l16(request, options, limits)
            return TurnUpload(text, None, samples, played)
        return TurnUpload(text, await _read_sound_file(request, limits), None, played)
    refuse_query(request)
    fields = await _read_fields(
        request,
        {
            "text": Rule("text", limits.text_chars),
            "audio": Rule("sound", limits.body_bytes),
            "played_s": Rule("text", 20),
        },
        limits,
    )
    text, audio = fields.text("text"), fields.file("audio")
    if text is None and audio is None:
        raise ProblemError("empty_turn", "The turn is empty. Send a `text`, an `audio` file, or both.")
    return TurnUpload(text, audio, None, _seconds("played_s", fields.text("played_s")))


async def read_played(request: Request, limits: Limits) -> float | None:
    """The field `played_s` of a request that may also have no body.

    Raises:
        ProblemError: the body is not acceptable.
    """
    refuse_query(request)
    fields = await _read_fields(request, {"played_s": Rule("text", 20)}, limits)
    return _seconds("played_s", fields.text("played_s"))


def refuse_query(request: Request) -> None:
    """Raise a `ProblemError` if the address has a query."""
    _query(request, {})


class _Fields:
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
                "body_too_large", f"The field `{name}` is larger than {_size(rule.most)}. Send a smaller file."
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


async def _read_fields(request: Request, rules: Mapping[str, Rule], limits: Limits) -> _Fields:
    fields = _Fields(rules)
    kind, options = _content_type(request)
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
    await _receive(request, _TEXT_BODY_BYTES, limits.body_s, content.extend)
    for name, value in _urlencoded(content) if kind == URLENCODED else _json(content):
        if fields.begin(name).kind != "text":
            raise ProblemError("bad_field", f"The field `{name}` is a file; send it as a part of {FORM}.")
        fields.add(name, value)
    return fields


async def _read_multipart(request: Request, boundary: str, fields: _Fields, limits: Limits) -> None:
    if not boundary:
        raise ProblemError("malformed", f"The Content-Type names no boundary; {FORM} needs one.")
    parts = _Parts(fields)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), parts.callbacks())  # type: ignore[arg-type]
        await _receive(request, limits.body_bytes, limits.body_s, parser.write)
    except FormParserError:
        raise ProblemError("malformed", f"The body is not {FORM} with the boundary that its type names.") from None
    if not parts.ended:
        raise ProblemError("malformed", "The body ends before its last boundary; it was cut short.")


class _Parts:
    """The parts of one multipart body, each checked as it comes."""

    def __init__(self, fields: _Fields) -> None:
        self.ended = False
        self._fields = fields
        self._headers: dict[str, str] = {}
        self._header, self._value = bytearray(), bytearray()
        self._name = ""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers.clear()

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
                "unsupported_media_type", f"The field `{self._name}` is a {rule.kind} and cannot be {kind[:80]!r}."
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
        parsed = pydantic_core.from_json(bytes(content))
    except ValueError:
        raise ProblemError("malformed", "The body is not JSON, or JSON that is nested too deeply.") from None
    if not isinstance(parsed, dict):
        raise ProblemError("malformed", "The JSON in the body must be an object whose names are those of the fields.")
    pairs = []
    for name, value in parsed.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise ProblemError("bad_field", f"The field {name[:40]!r} must be a text or a number.")
        if value is not None:
            pairs.append((name, (value if isinstance(value, str) else repr(value)).encode()))
    return pairs


def _checked_text(name: str, text: str, most: int) -> str | None:
    """None for a blank one."""
    if len(text) > most:
        raise _text_too_long(name, most)
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\r\t" for letter in text):
        raise ProblemError("bad_field", f"The field `{name}` holds control characters.")
    return text.strip() or None


def _voice(name: str | None) -> str | None:
    if name is not None and not all(letter.isalnum() or letter in " _+.-" for letter in name):
        raise ProblemError("bad_field", "The field `voice` may hold letters, digits, spaces and _ + . - only.")
    return name


def _whole_number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ProblemError("bad_field", f"The field `{name}` must be a whole number from 0 to {most}.")
    return int(text)


def _seconds(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MAX_PLAYED_S:
        raise ProblemError("bad_field", f"The field `{name}` must be a number of seconds from 0 to {_MAX_PLAYED_S:g}.")
    return value


def _query(request: Request, most: Mapping[str, int]) -> dict[str, str]:
    """The query's fields, each at most so many characters long."""
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


def _content_type(request: Request) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind.decode("latin-1"), {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()
    }


async def _read_l16(request: Request, options: Mapping[str, str], limits: Limits) -> Samples:
    """`audio/L16` (RFC 2586): 16-bit samples, high byte first, with the parameters rate and channels."""
    rate, channels = options.get("rate", ""), options.get("channels", "1")
    if not (rate.isascii() and rate.isdigit() and len(rate) < 7 and int(rate) in _L16_RATES):
        raise ProblemError(
            "unsupported_media_type", "audio/L16 needs a rate, e.g. `audio/L16;rate=16000`, of 8000 to 96000."
        )
    if not (channels.isascii() and channels.isdigit() and len(channels) < 3 and int(channels) in _L16_CHANNELS):
        raise ProblemError("unsupported_media_type", "audio/L16 can have 1 to 8 channels here.")
    content = bytearray()
    width = 2 * int(channels)
    most = math.floor(limits.turn_audio_s * int(rate)) * width
    seconds = limits.body_s + limits.turn_audio_s
    await _receive(request, most, seconds, content.extend, excess=audio_too_long(limits))
    if not content or len(content) % width:
        raise ProblemError("bad_audio", "The body does not hold a whole number of samples of 16 bits, or none at all.")
    samples = np.frombuffer(content, ">i2").reshape(-1, int(channels)).mean(axis=1, dtype=np.float32) / 32768
    if int(rate) == AUDIO_RATE:
        return np.ascontiguousarray(samples, np.float32)
    resampled: Samples = await asyncio.to_thread(soxr.resample, samples, int(rate), AUDIO_RATE, quality="HQ")
    return resampled


async def _read_sound_file(request: Request, limits: Limits) -> bytes:
    content = bytearray()
    excess = ProblemError(
        "body_too_large",
        f"The sound is larger than {_size(limits.body_bytes)}; besides, a turn may last at most "
        f"{limits.turn_audio_s:g} seconds. Send less, or a compressed format.",
    )
    await _receive(request, limits.body_bytes, limits.body_s + limits.turn_audio_s, content.extend, excess=excess)
    if not content:
        raise ProblemError("empty_turn", "The turn is empty: the body holds no sound.")
    return bytes(content)


def audio_too_long(limits: Limits) -> ProblemError:
    return ProblemError(
        "audio_too_long", f"A turn may last at most {limits.turn_audio_s:g} seconds. Say it in several."
    )


async def _receive(
    request: Request, most: int, seconds: float, take: Callable[[bytes], object], *, excess: ProblemError | None = None
) -> None:
    """Hand on the body as it comes; `most` bytes, within `seconds`."""
    excess = excess or ProblemError("body_too_large", f"The body is larger than {_size(most)}. Send less.")
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


def _size(count: int) -> str:
    return f"{count / MIB:g} MiB" if count >= MIB else f"{count} bytes"
