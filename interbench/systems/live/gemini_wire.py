"""What goes over the WebSocket of Google's Live API, as messages: what is sent, and what is made of what comes.

Source: Google's Live API reference (``BidiGenerateContent``), and google-genai's ``AvatarConfig`` for the avatar.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from interbench.base.foreign import NotJsonError, decoded, mapped, parsed_json

Api = Literal["vertex", "gemini"]
_VERTEX = "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
_GEMINI = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
_REFUSED = frozenset({"RESPONSE_REJECTED", "PROHIBITED_INPUT_CONTENT", "SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT"})


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the service."""

    ready: bool = False
    slices: Sequence[bytes] = ()
    """Of the stream of picture and sound."""
    said: str = ""
    """What the avatar says, the next piece."""
    heard: str = ""
    """What the service understood of the user's line, the next piece."""
    turn_complete: bool = False
    interrupted: bool = False
    refused: str = ""
    """Why the answer was refused, in the service's word."""
    handle: str | None = None
    """By which the session can be taken up on another connection."""
    leaving_s: float | None = None
    """The service closes this connection after so long."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    other_media: str = ""
    """Kind of media that is not the stream, if some came."""


def endpoint(api: Api, location: str) -> tuple[str, str]:
    """(host with scheme, path) of the service."""
    if api == "gemini":
        return "wss://generativelanguage.googleapis.com", _GEMINI
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    return f"wss://{host}", _VERTEX


def model_name(api: Api, model: str, project: str | None, location: str) -> str:
    """The model's full name."""
    if api == "gemini":
        return f"models/{model}"
    inside = f"publishers/google/models/{model}"
    return inside if project is None else f"projects/{project}/locations/{location}/{inside}"


def setup(
    *, model: str, instruction: str, voice: str | None, face: Mapping[str, Any], bitrate: int | None, handle: str | None
) -> str:
    """The first message: who speaks, how, and that the ends of lines are told."""
    generation: dict[str, Any] = {"response_modalities": ["VIDEO"]}
    if voice is not None:
        generation["speech_config"] = {"voice_config": {"prebuilt_voice_config": {"voice_name": voice}}}
    avatar = {**face, **({} if bitrate is None else {"video_bitrate_bps": bitrate})}
    message = {
        "model": model,
        "generation_config": generation,
        "avatar_config": avatar,
        "system_instruction": {"parts": [{"text": instruction}]},
        # Left to itself the service takes a pause of half a second for the end of a line.
        "realtime_input_config": {"automatic_activity_detection": {"disabled": True}},
        "input_audio_transcription": {},
        "output_audio_transcription": {},
        "context_window_compression": {"sliding_window": {}},
        "session_resumption": {} if handle is None else {"handle": handle},
    }
    return json.dumps({"setup": message})


def line_begins() -> str:
    return json.dumps({"realtime_input": {"activity_start": {}}})


def line_ends() -> str:
    return json.dumps({"realtime_input": {"activity_end": {}}})


def sound(pcm: bytes) -> str:
    """16-bit PCM, 16 kHz, mono."""
    data = base64.b64encode(pcm).decode()
    return json.dumps({"realtime_input": {"audio": {"mime_type": "audio/pcm;rate=16000", "data": data}}})


def typed(text: str) -> str:
    return json.dumps({"realtime_input": {"text": text}})


def portrait(png: bytes) -> dict[str, Any]:
    """A face of one's own; for projects that Google allows it."""
    return {"customized_avatar": {"image_data": base64.b64encode(png).decode(), "image_mime_type": "image/png"}}


def read(message: str | bytes) -> Told:
    """What a message says.

    Raises:
        NotJsonError: it is no JSON object, or its media are no base64.
    """
    told = mapped(parsed_json(message))
    content = mapped(told.get("serverContent"))
    slices: list[bytes] = []
    other = ""
    for part in _list(mapped(content.get("modelTurn")).get("parts")):
        blob = mapped(mapped(part).get("inlineData"))
        if not blob:
            continue
        kind = str(blob.get("mimeType", ""))
        if not kind.startswith("video/mp4"):
            other = kind or "unnamed"
            continue
        try:
            slices.append(decoded(str(blob.get("data", ""))))
        except ValueError:
            raise NotJsonError("its video is no base64") from None
    resumption = mapped(told.get("sessionResumptionUpdate"))
    handle = resumption.get("newHandle")
    usage = mapped(told.get("usageMetadata"))
    reason = str(content.get("turnCompleteReason") or content.get("finishReason") or "")
    return Told(
        ready="setupComplete" in told,
        slices=slices,
        said=_text(content.get("outputTranscription")),
        heard=_text(content.get("inputTranscription")),
        turn_complete=content.get("turnComplete") is True,
        interrupted=content.get("interrupted") is True,
        refused=reason if reason in _REFUSED else "",
        handle=handle if isinstance(handle, str) and handle and resumption.get("resumable") is not False else None,
        leaving_s=_seconds(mapped(told.get("goAway")).get("timeLeft")) if "goAway" in told else None,
        tokens={key: value for key, value in usage.items() if key.endswith("Count") and isinstance(value, int)},
        other_media=other,
    )


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    text = mapped(value).get("text")
    return text if isinstance(text, str) else ""


def _seconds(value: object) -> float:
    """A duration as protobuf's JSON writes it (``49.5s``); what is none is at once."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)s", str(value))
    return float(found[1]) if found else 0.0
