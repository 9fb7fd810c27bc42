"""What holds for every conversation of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from livetalk.base.errors import SessionError
from livetalk.render.config import SPEECH_LOOK_AHEAD, StreamConfig
from livetalk.render.options import CompileMode, SpeedOptions

DEFAULT_PROMPT = (
    "A realistic video of a person who looks into the camera and speaks, with a natural, lively face and lips that "
    "follow every word."
)

MOST_LOOK_AHEAD = 32
"""Two seconds of speech."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Settings of an engine.

    Raises:
        SessionError: positions are not bounded, so that a conversation would come to an end; or there is room for none.
    """

    stream: StreamConfig = field(default_factory=lambda: StreamConfig(position="bounded"))
    capacity: int = 2
    """Conversations at once; each reserves its caches on the device."""
    prompt: str = DEFAULT_PROMPT
    """What the video shows, for conversations that do not say."""
    compiled: bool | None = SpeedOptions().compiled
    """torch.compile; by default on a GPU."""
    compile_mode: CompileMode = SpeedOptions().compile_mode
    float8: bool = SpeedOptions().float8
    """8-bit linear layers: faster, not the release's numbers."""
    tune: bool | None = SpeedOptions().tune
    """Choose attention and convolutions by timing; by default on a GPU."""
    decoder_graph: bool = SpeedOptions().decoder_graph
    """Replay the decoder as CUDA graphs, too."""
    first_alone: bool = SpeedOptions().first_alone
    """Hand out an answer's very first picture by itself, where the session begins with it."""
    look_ahead: int = SPEECH_LOOK_AHEAD
    """Video frames of speech after a block that its features are made with."""
    encoder: str = "auto"
    """Of the video, as ``livetalk.video.h264`` knows them."""
    first_piece_s: float = 30.0
    """Until the thinker's first word or sound."""
    first_sound_s: float = 60.0
    """Until its first audible sound."""
    gap_s: float = 30.0
    """Between two of its pieces."""
    max_answer_s: float = 120.0
    """Of speech; what is longer is cut off there."""
    stall_s: float = 30.0
    """How long fragments wait for a client that reads nothing."""
    queue_blocks: int = 8
    """Blocks that wait for the client before generation pauses."""
    history_audio_s: float = 120.0
    """Of the user's own sound in memory."""
    history_chars: int = 40_000
    """Of text in memory."""

    def __post_init__(self) -> None:
        if self.stream.position != "bounded":
            raise SessionError(
                "A conversation has no end, and absolute positions do: choose bounded positions for live sessions."
            )
        if self.capacity < 1 or self.queue_blocks < 1:
            raise SessionError(
                f"An engine for {self.capacity} conversations with room for {self.queue_blocks} waiting blocks serves "
                "nobody; both must be 1 or more."
            )

        if not 0 <= self.look_ahead <= MOST_LOOK_AHEAD:
            raise SessionError(
                f"A look-ahead of {self.look_ahead} frames is none: it has 0 to {MOST_LOOK_AHEAD}, and each delays the "
                "first picture by 1/16 s."
            )

    def shown(self) -> dict[str, bool | int | str]:
        """What the answers depend on beside the models, for people and manifests."""
        # Said where it is another than usual: without it, services of before are the same system.
        ahead = {} if self.look_ahead == SPEECH_LOOK_AHEAD else {"look_ahead": self.look_ahead}
        return {
            **ahead,
            "window": self.stream.window,
            "sink": self.stream.sink,
            "steps": self.stream.steps,
            "position": self.stream.position,
            "float8": self.float8,
            "prompt": self.prompt,
        }
