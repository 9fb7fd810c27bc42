"""How a user's mood sounds, as far as a formant synthesizer goes: tempo, pitch, melody, pauses, level.

espeak-ng has one voice quality: grief is slow, low, flat and quiet, panic quick and high, anger loud, and nobody sobs.
A synthesizer that can be told the mood in words is told it instead (:mod:`interbench.scenarios.speech_server`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from interbench.domain.persona import Voice
from interbench.media.speech import Speech, synthesize, trim

LOUDNESS_DB = -24.0
"""RMS of the spoken parts in a neutral mood, re full scale; a mood moves it by its :attr:`Delivery.level_db`."""
PEAK_DB = -2.0
"""Peaks above are rounded off, so that the level is what it is said to be; coding overshoots by less than the rest."""
_KNEE = 0.6
"""Share of the highest peak from which on peaks are rounded."""
_PAUSES_S = {"...": 0.55, "…": 0.55, "—": 0.3, "–": 0.3}
_PAUSE = re.compile(r"(\.\.\.|…|—|(?<=\s)[–-](?=\s))")
_SLOWEST, _FASTEST = 80, 300
_SPOKEN_WINDOW_S = 0.02
_SPOKEN_SHARE = 1e-3

MOOD_FAMILIES: Mapping[str, str] = {
    "happy": (
        "relieved triumphant proud pleased delighted delight cheerful excited thrilled grateful happy glowing "
        "elated giddy satisfied gleeful charmed encouraged lighter brightening celebratory overjoyed joy "
        "enthusiastic won impressed hopeful breezy reassured giving bursting"
    ),
    "playful": (
        "amused playful laughing laugh mischievous giggling silly grinning teasing chuckling mock sly smug "
        "game lively barely tease showing trick pouncing fishing scheming innocent crafty haggling grand "
        "competitive challenging inventive collapsing"
    ),
    "curious": (
        "curious interested intrigued eager keen thoughtful thinking fascinated wonder testing counting considering"
    ),
    "warm": "warm warming fond tender moved touched cosy smiling dreamy chatty honest gentle calmer breathing",
    "anxious": (
        "worried nervous anxious panicky panicking panic frightened scared afraid tense frazzled stressed "
        "flustered jumpy alarmed shaky desperate urgent mortified rattled harassed whispering rushed careful "
        "caught hurried low"
    ),
    "sad": (
        "tearful grieving hurt sad bittersweet homesick heavy numb hollow deflated deflating cracking "
        "dismayed wistful quiet subdued brittle pleading overcome regretful"
    ),
    "cross": (
        "annoyed impatient angry irritated irritable cross grumpy gruff indignant sarcastic accusing "
        "frustrated stubborn grudging prickly defiant sharp muttering"
    ),
    "doubtful": (
        "doubtful hesitant uncertain sceptical unconvinced torn wavering puzzled confused muddled vague wary "
        "absent unsure distracted tempted surprised astonished taken wry coming"
    ),
    "embarrassed": (
        "embarrassed sheepish ashamed shy timid squirming apologetic guilty humble modest correcting conceding"
    ),
    "determined": (
        "determined confident certain decided firmer firm businesslike earnest practical precise focused "
        "trying resolute resolved checking reciting calculating concentrating convinced bolder finding "
        "pushing impulsive stepping remembering"
    ),
    "tired": "tired exhausted weary groggy drowsy worn resigned sleepy",
}
"""Word of a mood -> family; the moods themselves are free text."""

_FAMILY = {word: family for family, members in MOOD_FAMILIES.items() for word in members.split()}


def mood_family(mood: str) -> str:
    """The family of the first word of ``mood`` that has one; ``"other"`` if none has."""
    return next((_FAMILY[word] for word in re.findall(r"[a-z]+", mood.lower()) if word in _FAMILY), "other")


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a line is spoken, against how its speaker speaks otherwise."""

    rate: float = 1.0
    """Factor of the voice's words per minute."""
    pitch: int = 0
    """Added to the voice's espeak-ng pitch."""
    pitch_range: int = 50
    """Liveliness of the melody, 0 (monotone) to 99."""
    word_gap: int = 0
    """Pause between words in units of 10 ms at normal rate."""
    level_db: float = 0.0
    """Added to :data:`LOUDNESS_DB`."""


_DELIVERIES: Mapping[str, Delivery] = {
    "happy": Delivery(1.06, 6, 72, 0, 1.0),
    "playful": Delivery(1.03, 4, 78, 0, 0.5),
    "curious": Delivery(1.0, 3, 62, 0, 0.0),
    "warm": Delivery(0.94, -2, 52, 1, -1.0),
    "anxious": Delivery(1.12, 7, 60, 0, 0.5),
    "sad": Delivery(0.84, -6, 26, 3, -3.0),
    "cross": Delivery(1.06, 1, 66, 0, 3.0),
    "doubtful": Delivery(0.94, 0, 42, 2, -1.0),
    "embarrassed": Delivery(0.92, -1, 36, 2, -2.5),
    "determined": Delivery(1.0, -3, 44, 1, 1.5),
    "tired": Delivery(0.82, -8, 22, 4, -3.5),
    "other": Delivery(),
}
_WORDS: Mapping[str, Delivery] = {
    # What a single word of a mood asks for beyond its family: replaces the level, adds to the rest.
    "whispering": Delivery(0.92, -6, 12, 1, -7.0),
    "whispered": Delivery(0.92, -6, 12, 1, -7.0),
    "muttering": Delivery(0.95, -5, 20, 0, -4.0),
    "low": Delivery(0.95, -5, 30, 1, -4.0),
    "quiet": Delivery(0.9, -4, 28, 2, -4.0),
    "tearful": Delivery(0.8, 2, 30, 4, -3.0),
    "shouting": Delivery(1.05, 8, 80, 0, 4.0),
    "angry": Delivery(1.08, 2, 72, 0, 4.0),
    "panicking": Delivery(1.18, 11, 70, 0, 2.0),
    "panicky": Delivery(1.18, 11, 70, 0, 2.0),
    "exhausted": Delivery(0.78, -9, 18, 5, -4.0),
}


def delivery_of(mood: str) -> Delivery:
    """How somebody of this mood speaks: by the first word that asks for something of its own, else by its family."""
    for word in re.findall(r"[a-z]+", mood.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return _DELIVERIES[mood_family(mood)]


def deliver(text: str, voice: Voice, delivery: Delivery) -> Speech:
    """``text`` spoken by the built-in synthesizer, with pauses where the text has dots or a dash; not yet levelled.

    Raises:
        SpeechError: unknown voice, or a text too long.
    """
    moved = voice.model_copy(
        update={
            "rate": min(_FASTEST, max(_SLOWEST, round(voice.rate * delivery.rate))),
            "pitch": min(99, max(0, voice.pitch + delivery.pitch)),
        }
    )
    pieces: list[npt.NDArray[np.float32]] = []
    rate = 0
    for part in _PAUSE.split(text):
        if part in _PAUSES_S or part == "-":
            if pieces:
                pieces.append(np.zeros(round(_PAUSES_S.get(part, 0.3) / delivery.rate * rate), np.float32))
        elif any(char.isalnum() for char in part):
            said = synthesize(part.strip(), moved, pitch_range=delivery.pitch_range, word_gap=delivery.word_gap)
            rate = said.rate
            pieces.append(trim(said, keep_s=0.02).samples)
    return Speech(np.concatenate(pieces) if pieces else np.zeros(0, np.float32), rate or 22_050)


def spoken_db(samples: npt.NDArray[np.float32], rate: int) -> float:
    """RMS of the spoken parts in dB re full scale: of every 20 ms at most 30 dB below the loudest; -inf for silence."""
    size = max(1, round(rate * _SPOKEN_WINDOW_S))
    count = len(samples) // size
    if count == 0:
        return float("-inf")
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    spoken = power[power > power.max() * _SPOKEN_SHARE]
    return 10 * float(np.log10(spoken.mean())) if spoken.size else float("-inf")


def at_level(speech: Speech, loudness_db: float) -> Speech:
    """The same speech at a loudness (:func:`spoken_db`), its highest peaks rounded off below :data:`PEAK_DB`."""
    samples = speech.samples.astype(np.float64)
    ceiling = 10 ** (PEAK_DB / 20)
    knee = _KNEE * ceiling
    for _ in range(3):  # rounding takes a little of the level away
        found = spoken_db(samples.astype(np.float32), speech.rate)
        if not np.isfinite(found):
            return speech
        samples = samples * 10 ** ((loudness_db - found) / 20)
        size = np.abs(samples)
        rounded = knee + (ceiling - knee) * np.tanh((size - knee) / (ceiling - knee))
        samples = np.where(size > knee, np.sign(samples) * rounded, samples)
    return replace(speech, samples=samples.astype(np.float32))
