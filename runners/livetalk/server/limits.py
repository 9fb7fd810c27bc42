"""What one client may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from livetalk.live.settings import LiveSettings

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes, texts in characters.

    Raises:
        ValueError: a limit is not positive.
    """

    body_bytes: int = 32 * MIB
    """Of a whole request."""
    picture_bytes: int = 16 * MIB
    picture_pixels: int = 50_000_000
    turn_audio_s: float = 120.0
    text_chars: int = 4_000
    persona_chars: int = 8_000
    prompt_chars: int = 2_000
    voice_chars: int = 64

    head_s: float = 10.0
    """Until a request's line and headers are there."""
    body_s: float = 30.0
    """Until a body is there; one that is spoken live may take ``turn_audio_s`` longer."""
    stall_s: float = LiveSettings().stall_s
    """How long a client may go without taking anything of what it is sent."""
    decode_s: float = 10.0
    """Processor time for decoding one picture or sound; six times as much may pass, on a busy machine."""

    idle_s: float = 300.0
    """How long a conversation without a turn stays open."""
    age_s: float = 4 * 3600.0
    """How old a conversation becomes; it is closed at the end of its turn."""
    connections: int = 64
    """Over which requests were let in."""
    strangers: int = 256
    """Further connections, over which none was: the oldest makes way when they are more."""
    send_buffer_bytes: int = 256 * 1024
    """The system's own, per connection: what lies there was not yet taken."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be positive")
