"""What travels as JSON. The protocol's version is raised when a client of the former one could misread an answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Video(_Model):
    """What the clips of a conversation are like."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: float = Field(description="Frames per second.")
    mime: str = Field(
        description="Media type with codecs, as `MediaSource.isTypeSupported` wants it.",
        examples=['video/mp4; codecs="avc1.42C01E, mp4a.40.2"'],
    )
    sound_rate: int = Field(description="Samples of sound per second; the sound is mono.")


class Health(_Model):
    status: Literal["loading", "ready", "failed"]
    protocol: int = Field(description="Version of this protocol.", examples=[PROTOCOL])
    version: str = Field(description="Version of the software.")
    size: str = Field(description="Size of the model.")
    weights: str | None = Field(description="Where the weights are from; null while loading.")
    random_weights: bool | None = Field(description="True where the pictures mean nothing; null while loading.")
    thinker: str = Field(description="Who thinks and speaks.")
    voice_fields: list[str] = Field(
        description="Which of the fields `pitch` and `rate` of a conversation the thinker's speaker follows."
    )
    device: str = Field(description="Where the pictures are computed.")
    settings: dict[str, bool | int | str] = Field(
        description="What else the answers depend on; services that differ here are not the same system."
    )
    sessions: int = Field(description="Conversations open.")
    capacity: int = Field(description="Conversations that may be open at once.")
    video: Video | None = Field(description="What the clips are like; null while loading.")


class Voice(_Model):
    name: str = Field(description="What the field `voice` of a new conversation takes.")
    description: str = Field(description="For people, in a few words; may be empty.")
    gender: Literal["female", "male"] | None = Field(description="As it sounds; null where that is not known.")


class Voices(_Model):
    voices: list[Voice] = Field(
        description="Those that the thinker knows by name; empty where only its service knows them. A conversation may "
        "name others."
    )


class ConversationOpened(_Model):
    id: str = Field(description="Names the conversation in all further requests. Whoever knows it can take part.")
    video: Video
    expires_s: float = Field(description="After so many seconds without a turn the conversation is closed.")
    max_turn_audio_s: float = Field(description="Longest sound of a turn, in seconds.")
    max_text_chars: int = Field(description="Longest text of a turn, in characters.")


class Timings(_Model):
    """Seconds after the user's turn was complete; null where it has not happened."""

    thinker_first_text_s: float | None = Field(description="The first piece of the answer's text.")
    thinker_first_sound_s: float | None = Field(description="The first piece of the answer's sound.")
    first_window_s: float | None = Field(description="Enough sound for the first block of pictures.")
    first_block_s: float | None = Field(description="The first block of pictures, decoded.")
    first_fragment_s: float | None = Field(description="The first fragment of the clip, encoded.")
    finished_s: float | None = Field(description="The end of the answer, in whatever way.")


class TurnFailure(_Model):
    code: str
    message: str


class Turn(_Model):
    """A turn as it stands; ``outcome`` is ``running`` until it has ended."""

    index: int = Field(description="1 for the first turn.")
    outcome: Literal["running", "completed", "interrupted", "timed_out", "failed", "disconnected"]
    user_text: str | None = Field(description="What the user wrote, or is known to have said; null until it is known.")
    user_text_source: Literal["typed", "transcribed"] | None = Field(
        description="Whether `user_text` came with the turn, or was written down from its sound; null where it is null."
    )
    text: str = Field(description="All that the avatar said or began to say, so far.")
    heard_text: str = Field(description="What the conversation remembers: of an answer cut short, what was heard.")
    timings: Timings
    frames: int = Field(description="Pictures sent.")
    video_s: float = Field(description="Seconds of video sent.")
    underruns: int = Field(description="How often a viewer without a buffer would have had to wait.")
    underrun_s: float = Field(description="How long in all, in seconds.")
    real_time_factor: float | None = Field(description="Seconds of work per second of video; below 1 is in time.")
    error: TurnFailure | None


class Conversation(_Model):
    id: str
    turns: list[Turn] = Field(description="Oldest first.")
    expires_in_s: float = Field(description="Seconds until it is closed, if nothing is said.")


class ErrorDetail(_Model):
    code: str = Field(description="For programs.")
    message: str = Field(description="For people: one paragraph that says what to do.")


class ErrorBody(_Model):
    """The body of every response whose status is 400 or more."""

    error: ErrorDetail
