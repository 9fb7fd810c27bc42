"""Facial expressions, and the words that call for them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """How a mood shows. Ranges as in :mod:`interbench.systems.puppet.figure.features`; ``energy`` scales all motion."""

    smile: float = 0.3
    lift: float = 0.0
    inner: float = 0.0
    squint: float = 0.0
    lid: float = 1.0
    energy: float = 1.0
    tilt: float = 0.0
    pitch: float = 0.0
    pitch_range: int = 50
    """Liveliness of the voice's melody, 0..99."""
    pace: float = 1.0


EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(smile=0.3),
    "happy": Expression(smile=0.9, lift=0.2, squint=0.6, energy=1.15, pitch_range=66, pace=1.03),
    "amused": Expression(smile=0.95, lift=0.25, squint=0.8, energy=1.2, tilt=2.0, pitch_range=68, pace=1.02),
    "excited": Expression(smile=1.0, lift=0.6, squint=0.35, lid=1.1, energy=1.45, pitch_range=78, pace=1.08),
    "warm": Expression(smile=0.65, lift=0.1, inner=0.15, squint=0.4, energy=0.95, tilt=1.5, pitch_range=52, pace=0.98),
    "calm": Expression(smile=0.4, lid=0.92, energy=0.7, pitch_range=40, pace=0.94),
    "sympathetic": Expression(
        smile=0.1, inner=0.65, lid=0.92, energy=0.75, tilt=3.0, pitch=0.12, pitch_range=42, pace=0.92
    ),
    "concerned": Expression(
        smile=-0.15, inner=0.7, lift=-0.05, energy=0.8, tilt=1.0, pitch=0.1, pitch_range=44, pace=0.95
    ),
    "sad": Expression(smile=-0.55, inner=0.9, lid=0.82, energy=0.55, tilt=2.0, pitch=0.3, pitch_range=30, pace=0.88),
    "apologetic": Expression(
        smile=-0.05, inner=0.8, lid=0.9, energy=0.75, tilt=2.5, pitch=0.2, pitch_range=42, pace=0.94
    ),
    "curious": Expression(smile=0.35, lift=0.55, energy=1.05, tilt=-3.0, pitch_range=60),
    "surprised": Expression(smile=0.15, lift=0.95, lid=1.15, energy=1.15, pitch_range=70),
    "serious": Expression(smile=-0.1, inner=-0.3, energy=0.8, pitch_range=40, pace=0.96),
    "angry": Expression(
        smile=-0.6, inner=-1.0, lift=-0.35, squint=0.4, energy=1.2, pitch=0.1, pitch_range=56, pace=1.05
    ),
    "confused": Expression(smile=-0.05, lift=0.3, inner=0.35, energy=0.95, tilt=-4.0, pitch_range=54, pace=0.96),
    "bored": Expression(smile=-0.25, lid=0.66, lift=-0.15, energy=0.45, pitch_range=18, pace=0.92),
}

# Stems, most telling first: "warm and amused" is amused, "calm, reassuring" is warm.
_STEMS: tuple[tuple[str, str], ...] = (
    (r"amus|playful|humou?r|funny|laugh|chuckl|joking|teasing|witty|mischie|wry|sarcas|ironic", "amused"),
    (r"excit|enthus|thrill|delight|ecsta|eager|overjoy|energetic|celebrat|triumph|exuber", "excited"),
    (r"apolog|sorry|regret|contrit|asham|embarrass|sheepish", "apologetic"),
    (r"sympath|compass|empath|condol|tender|gentle|consol|comfort|sooth|understanding", "sympathetic"),
    (r"sad|griev|mourn|sorrow|melanchol|bereav|depress|gloomy|downcast|lonely|wistful", "sad"),
    (r"concern|worri|anxious|nervous|caution|careful|uneasy|fear|afraid|alarm|tense|stress", "concerned"),
    (r"angr|furious|annoy|irritat|frustrat|indign|outrag|impatien|cross", "angry"),
    (r"surpris|astonish|amaz|shock|incredul|startl", "surprised"),
    (r"confus|puzzl|uncertain|unsure|doubt|hesita|perplex", "confused"),
    (r"curi|interest|inquisit|intrigu|question|wonder|thoughtful|reflect|ponder", "curious"),
    (r"bored|indiffer|apath|weary|tired|monoton|listless", "bored"),
    (r"serious|firm|stern|grave|solemn|formal|strict|honest|direct|matter-of-fact", "serious"),
    (
        r"warm|friendly|kind|reassur|encourag|support|caring|welcom|affection|grateful|proud|nostalg|patient|helpful",
        "warm",
    ),
    (r"happy|cheer|joy|glad|pleas|bright|upbeat|positive|optimis|content|hopeful|light", "happy"),
    (r"calm|relax|serene|peace|quiet|steady|composed|measured|collected", "calm"),
)

OPPOSITES: dict[str, str] = {
    **dict.fromkeys(("sad", "sympathetic", "concerned", "apologetic", "serious", "confused"), "amused"),
    **dict.fromkeys(("happy", "amused", "excited", "warm", "curious", "surprised"), "angry"),
    **dict.fromkeys(("calm", "neutral", "bored", "angry"), "sad"),
}
"""What the wrong mood is."""


def mood_of(words: str) -> str:
    """The key of :data:`EXPRESSIONS` that free text on a mood comes nearest to."""
    text = words.casefold()
    for stems, mood in _STEMS:
        if re.search(rf"\b(?:{stems})", text):
            return mood
    return "neutral"
