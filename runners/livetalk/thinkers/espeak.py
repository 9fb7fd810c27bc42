"""espeak-ng's voice: text in, samples and the places of the words in them out.

The library and its data come in the wheel ``espeakng-loader``; it is driven through ctypes (speak_lib.h). interbench
does the same in ``interbench.media.speech``, because the two packages share no code; a test holds both to one sound.
"""

from __future__ import annotations

import _ctypes
import atexit
import contextlib
import ctypes
import functools
import os
import re
import shutil
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from livetalk.base import termination
from livetalk.thinkers.base import KnownVoice, Samples, ThinkerError

RATE = 22_050
"""Samples per second of everything :func:`speak` makes."""

MAX_CHARACTERS = 5_000
"""Longest text spoken in one call: several minutes."""

_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8_WITH_END_PAUSE = 0x1001
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_EVENT_WORD = 1
_REINSTALL = "It comes in a wheel: `pip install --force-reinstall espeakng-loader`."
# espeak-ng keeps its data path in a buffer of 160 bytes and appends file names of up to a dozen.
_PATH_LIMIT = 140
# What is fainter than this belongs to a pause.
_AUDIBLE = 0.005


@dataclass(frozen=True, eq=False, slots=True)
class Spoken:
    """Speech at ``RATE`` and its words."""

    samples: Samples
    """float32 of shape (n,) in [-1, 1]."""
    words: tuple[tuple[int, int], ...]
    """For each word, the characters of the text up to its end, and the samples up to where its sound ends."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice as it is written ``language[+variant][,pitch=0..99][,rate=80..450]``, e.g.
    ``en-us+f3,pitch=60,rate=165``."""

    language: str = "en-us"
    """A language code of espeak-ng."""
    variant: str = ""
    """A voice variant (f1 to f5 and m1 to m8 among others); empty for the language's own."""
    pitch: int = 50
    """0 to 99."""
    rate: int = 165
    """Words per minute."""

    @classmethod
    def parse(cls, written: str) -> Voice:
        """Read a voice's name.

        Raises:
            ThinkerError: ``unsupported``; espeak-ng has no such voice, or it is written otherwise.
        """
        name, *settings = (part.strip() for part in written[:200].split(","))
        language, _, variant = name.partition("+")
        numbers = {"pitch": 50, "rate": 165}
        for setting in settings:
            key, _, value = setting.partition("=")
            low, high = {"pitch": (0, 99), "rate": (80, 450)}.get(key, (1, 0))
            if not re.fullmatch(r"\d{1,3}", value, re.ASCII) or not low <= int(value) <= high:
                raise ThinkerError(
                    "unsupported",
                    f"The voice {written[:200]!r} is not written as one: a language, perhaps a variant, pitch (0 to "
                    "99) and rate (80 to 450 words per minute), as in `en-us+f3,pitch=60,rate=165`.",
                )
            numbers[key] = int(value)
        if language.lower() not in _languages():
            raise ThinkerError(
                "unsupported",
                f"The scripted speaker has no voice {written[:200]!r}. Take the code of one of its {len(_languages())} "
                "languages, perhaps with a variant, such as en-us, en-us+f3, en-gb or de+m2.",
            )
        if variant and variant not in _variants():
            raise ThinkerError(
                "unsupported",
                f"The scripted speaker has no variant {variant[:80]!r} (of the voice {written[:200]!r}). Take one such "
                "as f1 to f5 or m1 to m8, or none.",
            )
        return cls(language.lower(), variant, **numbers)


VOICES = tuple(
    KnownVoice(f"{language}+{kind}{number}", f"{accent}, {who} {place}", "female" if kind == "f" else "male")
    for language, accent, women, men in (
        ("en-us", "American", (2, 3, 5), (1, 2, 3)),
        ("en-gb", "British", (2, 3), (3, 7)),
        ("en-gb-scotland", "Scottish", (4,), (2,)),
    )
    for kind, who, numbers in (("f", "woman", women), ("m", "man", men))
    for place, number in enumerate(numbers, 1)
)
"""A few of the hundreds that ``Voice.parse`` reads, to choose from."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, counted from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

# The library keeps everything in global variables.
_lock = threading.Lock()


def speak(text: str, voice: Voice | None = None) -> Spoken:
    """Say a text as it stands; markup in it is read out, not obeyed. Speech has about -20 dB of full scale (RMS).

    The same arguments give the same samples. Safe to call from several threads, one of which works at a time.

    Raises:
        ThinkerError: ``failed``; the library does not load, or the text is longer than ``MAX_CHARACTERS``.
    """
    if len(text) > MAX_CHARACTERS:
        raise ThinkerError(
            "failed", f"A sentence of {len(text):,} characters is more than {MAX_CHARACTERS:,}: split it."
        )
    # Control characters would steer espeak-ng. Each becomes one space, so that the words' places stay those in
    # ``text``.
    plain = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    if not plain.strip():
        return Spoken(np.zeros(0, np.float32), ())
    with _lock, _fresh_library() as library:
        pcm, starts = _run(library, plain, voice or Voice())
    samples = pcm.astype(np.float32) / np.float32(32768)
    audible = np.append(0, np.flatnonzero(np.abs(samples) > _AUDIBLE) + 1)
    nexts = [*(start for _, start in starts[1:]), len(samples)]
    words = tuple(
        (place, int(audible[np.searchsorted(audible, after, side="right") - 1]))
        for (place, _), after in zip(starts, nexts, strict=False)
    )
    return Spoken(samples, words)


def _run(library: ctypes.CDLL, text: str, voice: Voice) -> tuple[Any, list[tuple[int, int]]]:
    """The sound as int16, and for each word the characters up to its end and the sample at which it begins."""
    data = _data()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT) != RATE:
        raise ThinkerError("failed", f"The scripted speaker does not start with its data in {data}. {_REINSTALL}")
    chunks = [np.zeros(0, np.int16)]
    words: list[tuple[int, int]] = []

    def collect(wav: Any, count: int, events: Any) -> int:
        if wav and count > 0:
            chunks.append(np.ctypeslib.as_array(wav, (count,)).copy())
        index = 0
        while events[index].type != 0:
            event = events[index]
            if event.type == _EVENT_WORD:
                words.append((event.text_position - 1 + event.length, event.sample))
            index += 1
        return 0

    callback = _Callback(collect)
    try:
        library.espeak_SetSynthCallback(callback)
        name = _languages()[voice.language] + ("+" + voice.variant if voice.variant else "")
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ThinkerError("failed", f"The scripted speaker's data lack the voice {name!r}. {_REINSTALL}")
        library.espeak_SetParameter(_PARAMETER_RATE, voice.rate, 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        # Breath and hiss are random numbers: its own, which it seeds with the time of day, and the C library's.
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        ctypes.CDLL(None).srand(1)
        raw = text.encode("utf-8", "replace")
        library.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, 1, 0, _UTF8_WITH_END_PAUSE, None, None)
        library.espeak_Synchronize()
    finally:
        library.espeak_Terminate()
    return np.concatenate(chunks), words


@contextlib.contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library, unloaded afterwards: its oscillators and filters keep their state in static variables that even
    ``espeak_Terminate`` leaves as they are, so only a newly loaded one says the same text in the same samples."""
    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
    except (OSError, RuntimeError) as error:
        raise ThinkerError("failed", f"The scripted speaker can't be loaded ({error}). {_REINSTALL}") from error
    try:
        yield library
    finally:
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
        unload(library._handle)


@functools.cache
def _data() -> Path:
    try:
        data = Path(espeakng_loader.get_data_path())
    except RuntimeError as error:
        raise ThinkerError("failed", f"The scripted speaker's data are missing ({error}). {_REINSTALL}") from error
    if len(os.fsencode(data)) <= _PATH_LIMIT:
        return data
    with termination.undivided():
        folder = Path(tempfile.mkdtemp(prefix="espeak-"))
        for at_end in (atexit.register, termination.at_end):
            at_end(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    link = folder / data.name
    link.symlink_to(data, target_is_directory=True)
    return link


@functools.cache
def _variants() -> frozenset[str]:
    return frozenset(path.name for path in (_data() / "voices" / "!v").iterdir())


@functools.cache
def _languages() -> dict[str, str]:
    """Language code -> voice file; where several files speak a language, the one that gives it the best rank."""
    folder = _data() / "lang"
    ranked: dict[str, tuple[int, str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for code, rank in re.findall(r"^language\s+([\w-]+)[ \t]*(\d*)", text, re.M):
                entry = (int(rank or 5), str(path.relative_to(folder)))
                ranked[code.lower()] = min(entry, ranked.get(code.lower(), entry))
    return {code: name for code, (_, name) in ranked.items()}
