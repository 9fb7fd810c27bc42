"""Bodies and queries as OpenAPI has them. They are read by hand (``livetalk.server.uploads``), so that limits hold
while they arrive; this is their description."""

from __future__ import annotations

from typing import Any

from livetalk.server.forms import FORM, JSON, URLENCODED
from livetalk.server.limits import Limits
from livetalk.server.uploads import LEAST_RATE, MOST_PITCH, MOST_RATE

_PLAYED = {
    "type": "number",
    "minimum": 0,
    "maximum": 86_400,
    "description": "Seconds of the running answer that were played before this. Without it the server reckons with the "
    "time since its first fragment.",
}


MANNER: dict[str, Any] = {
    "pitch": {
        "type": "integer",
        "minimum": 0,
        "maximum": MOST_PITCH,
        "description": "Of the voice: 0 is deep, 50 its own, 99 high. For speakers that follow it.",
    },
    "rate": {
        "type": "integer",
        "minimum": LEAST_RATE,
        "maximum": MOST_RATE,
        "description": "Words per minute. For speakers that follow it.",
    },
}
"""Fields that say how a voice speaks."""


def opening_body(limits: Limits) -> dict[str, Any]:
    """``requestBody`` of the route that opens a conversation."""
    return {
        "required": False,
        "content": _contents(
            {
                "prompt": _text("What the video shows.", limits.prompt_chars),
                "persona": _text("Who the avatar is, as a system prompt.", limits.persona_chars),
                "voice": _text("A voice that the server's thinker knows.", limits.voice_chars),
                **MANNER,
                "seed": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 2**63 - 1,
                    "default": 0,
                    "description": "The same seed gives the same pictures for the same speech.",
                },
            },
            {"image": _file("The portrait: PNG, JPEG, WebP, AVIF, GIF or BMP. Without it a neutral one is used.")},
            {"image": {"contentType": "image/png, image/jpeg, image/webp, image/avif, image/gif, image/bmp"}},
        ),
    }


def turn_body(limits: Limits) -> dict[str, Any]:
    """``requestBody`` of the route that takes a turn."""
    sound = _file("A sound file as above, e.g. `audio/wav`.")
    samples = _file(
        "16-bit samples, high byte first (RFC 2586), with the parameters `rate` (needed, 8000 to 96000) and `channels` "
        "(1 by default): `audio/L16;rate=16000`."
    )
    fields = _contents(
        {"text": _said(limits), "played_s": _PLAYED},
        {"audio": _file("What the user says: WAV, FLAC, MP3, M4A, Ogg, WebM and others.")},
        {"audio": {"contentType": "audio/*, video/webm, video/mp4, application/ogg"}},
    )
    return {"required": True, "content": fields | {"audio/L16": {"schema": samples}, "audio/*": {"schema": sound}}}


def turn_query(limits: Limits) -> list[dict[str, Any]]:
    """``parameters`` that go with sound as the body."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": "As the field, where the body is sound.",
            "schema": schema,
        }
        for name, schema in (("text", _said(limits)), ("played_s", _PLAYED))
    ]


def sample_query() -> list[dict[str, Any]]:
    """``parameters`` of a voice that is to be heard."""
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in MANNER.items()]


def played_body() -> dict[str, Any]:
    """``requestBody`` of the route that interrupts."""
    return {"required": False, "content": _contents({"played_s": _PLAYED}, {}, {})}


def _said(limits: Limits) -> dict[str, Any]:
    return _text("What the user says; beside sound, what is said in it.", limits.text_chars)


def _text(description: str, most: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most, "description": description}


def _file(description: str) -> dict[str, Any]:
    return {"type": "string", "contentMediaType": "application/octet-stream", "description": description}


def _contents(texts: dict[str, Any], files: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {"schema": _object(texts | files)}
    if encoding:
        form["encoding"] = encoding
    return {FORM: form, URLENCODED: {"schema": _object(texts)}, JSON: {"schema": _object(texts)}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
