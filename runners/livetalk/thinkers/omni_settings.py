"""How Qwen3-Omni answers: what is drawn how, and where an answer is cut. Needs neither torch nor transformers."""

from __future__ import annotations

from dataclasses import dataclass

from livetalk.thinkers.base import KnownVoice

VOICES = (
    KnownVoice("Aiden", "man", "male"),
    KnownVoice("Chelsie", "woman", "female"),
    KnownVoice("Ethan", "man", "male"),
)
"""The published model's."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn from scores.

    Raises:
        ValueError: a value outside its range.
    """

    temperature: float = 1.0
    """0 takes the most likely token."""
    top_k: int = 0
    """Only so many of the most likely tokens; 0 for all."""
    top_p: float = 1.0
    """Only the most likely tokens that together have this probability."""
    repetition_penalty: float = 1.0
    """How much less likely tokens already drawn become; 1 for not at all."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                "Tokens can't be drawn like that: temperature and top_k are 0 or more, top_p is above 0 and at most "
                f"1, repetition_penalty above 0; these are {self}."
            )


TEXT = Sampling(temperature=0.7, top_k=20, top_p=0.8)
"""As Qwen advises for its instruct models."""

SPEECH = Sampling(temperature=0.9, top_k=50, repetition_penalty=1.05)
"""As the published model speaks."""

RESIDUAL = Sampling(temperature=1.0, top_k=50, top_p=0.8)
"""As the published model draws the fifteen codes of a frame after its first, whatever its other settings are."""

_FRAMES_PER_TOKEN = 16
_FRAMES_OF_SILENCE = 64


@dataclass(frozen=True, slots=True)
class OmniLimits:
    """Where an answer is cut.

    Raises:
        ValueError: less than one of either.
    """

    text_tokens: int = 1024
    """Of text."""
    frames: int = 4096
    """Of speech, 12.5 a second."""

    def __post_init__(self) -> None:
        if self.text_tokens < 1 or self.frames < 1:
            raise ValueError("An answer may have at least one token of text and one frame of speech.")

    def for_text(self, tokens: int) -> int:
        """Frames that a text of so many tokens may take. Ordinary speech takes three to five a token; a talker that
        takes several times as many has lost its way and would go on to the very end."""
        return min(self.frames, _FRAMES_OF_SILENCE + _FRAMES_PER_TOKEN * tokens)
