"""The core's speech synthesizer: text in, samples with phoneme and word times out.

:func:`synthesize` drives espeak-ng's library, which the ``espeakng_loader`` wheel carries, through ctypes.
:class:`SynthesizerCommand` puts any other synthesizer in its place, as a command line. The helpers below bring speech
into the shape that scenarios need: trimmed, levelled, 16 kHz. livetalk drives the library by a twin of this binding,
``livetalk.thinkers.espeak``, because the two packages share no code; a test holds both to the same sound.
"""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import functools
import os
import re
import shlex
import subprocess
import threading
import unicodedata
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import espeakng_loader
import numpy as np
import numpy.typing as npt

from interbench.base.errors import InterbenchError
from interbench.base.scratch import Scratch
from interbench.domain.persona import Voice
from interbench.media.wav import WavError, decode_wav

Samples = npt.NDArray[np.float32]

MAX_SPEECH_S = 600.0
"""Longest speech :func:`synthesize` makes unless told otherwise, in seconds."""


class SpeechError(InterbenchError):
    """Text can't be spoken: unknown voice, missing library, or longer than allowed."""


class Span(NamedTuple):
    """A phoneme (IPA) or a word, and when it sounds, in seconds from the first sample."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Mono speech. ``samples``: float32 of shape (n,) in -1..1."""

    samples: Samples
    rate: int
    phonemes: tuple[Span, ...] = ()
    words: tuple[Span, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


# Constants and layouts of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 0x0001
_INITIALIZE_PHONEME_IPA = 0x0002
_INITIALIZE_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_ENDPAUSE = 0x1000
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_PARAMETER_RANGE = 4
_PARAMETER_WORDGAP = 7
_EVENT_WORD = 1
_EVENT_PHONEME = 7
_RATE = 22_050
_REINSTALL = "It comes in a wheel: `pip install --force-reinstall espeakng-loader`."
_PATH_LIMIT = 140
"""espeak-ng keeps its data path in a buffer of 160 bytes and appends file names of up to a dozen."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

# The library keeps everything in global variables.
_lock = threading.Lock()


@functools.cache
def _data() -> Path:
    try:
        data = Path(espeakng_loader.get_data_path())
    except RuntimeError as error:
        raise SpeechError(f"The synthesizer's voices are missing ({error}). {_REINSTALL}") from error
    if len(os.fsencode(data)) <= _PATH_LIMIT:
        return data
    link = _scratch().path / data.name
    link.symlink_to(data, target_is_directory=True)
    return link


@functools.cache
def _scratch() -> Scratch:
    """Kept until the process ends."""
    return Scratch("espeak")


@contextlib.contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """espeak-ng's library, unloaded afterwards.

    Its oscillators' phases and filters live in static variables that even ``espeak_Terminate`` leaves as they are, so
    the same text would sound different the second time. Only a newly loaded library starts from a known state.
    """
    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise SpeechError(f"The speech synthesizer can't be loaded ({error}). {_REINSTALL}") from error
    try:
        yield library
    finally:
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
        unload(library._handle)


def check_voice(voice: Voice) -> None:
    """Raise :class:`SpeechError` unless the bundled espeak-ng has this language and variant."""
    data = _data()
    language, _, variant = voice.variant.partition("+")
    variants = sorted(path.name for path in (data / "voices" / "!v").iterdir())
    if variant and variant not in variants:
        raise SpeechError(
            f"The synthesizer has no voice variant {variant!r} (asked for as {voice.variant!r}). "
            f"It has: {', '.join(variants)}."
        )
    if language not in _languages():
        raise SpeechError(
            f"The synthesizer has no language {language!r} (asked for as {voice.variant!r}). "
            f"It has: {', '.join(sorted(_languages()))}."
        )


@functools.cache
def _languages() -> Mapping[str, str]:
    """Language code -> voice file; where several files speak a language, the one that gives it the best rank."""
    data = _data()
    ranked: dict[str, tuple[int, str]] = {}
    for path in sorted((data / "lang").rglob("*")):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for code, rank in re.findall(r"^language\s+([\w-]+)[ \t]*(\d*)", text, re.M):
                entry = (int(rank or 5), str(path.relative_to(data / "lang")))
                ranked[code.lower()] = min(entry, ranked.get(code.lower(), entry))
    return {code: name for code, (_, name) in ranked.items()}


def speakable(text: str) -> str:
    """``text`` without control characters, which steer espeak-ng, and with white space folded to single spaces."""
    kept = (" " if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") else char for char in text)
    return " ".join("".join(kept).split())


def synthesize(
    text: str,
    voice: Voice | None = None,
    *,
    pitch_range: int = 50,
    word_gap: int = 0,
    max_s: float = MAX_SPEECH_S,
) -> Speech:
    """Speak ``text`` as it stands; markup in it is read out, not obeyed.

    The same arguments give the same samples. Safe to call from several threads, one of which works at a time.

    Args:
        voice: language, variant, pitch and rate; the default voice if None.
        pitch_range: liveliness of the melody, 0 (monotone) to 99.
        word_gap: pause between words in units of 10 ms at normal rate.
        max_s: longest speech allowed, in seconds.

    Returns:
        Speech at 22,050 Hz with IPA phonemes and words; no samples at all if there is nothing to say.

    Raises:
        SpeechError: unknown voice, or more than ``max_s`` seconds of speech.
    """
    voice = voice or Voice()
    check_voice(voice)
    spoken = speakable(text)
    if not spoken:
        return Speech(np.zeros(0, np.float32), _RATE)
    with _lock, _fresh_library() as library:
        return _run(library, spoken, voice, pitch_range, word_gap, max_s)


def _run(library: ctypes.CDLL, text: str, voice: Voice, pitch_range: int, word_gap: int, max_s: float) -> Speech:
    data = _data()
    options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), options)
    if rate <= 0:
        raise SpeechError(f"The speech synthesizer does not start with its data in {data}. {_REINSTALL}")
    try:
        chunks: list[npt.NDArray[np.int16]] = []
        phonemes: list[tuple[str, int]] = []
        words: list[tuple[int, int, int]] = []
        total = 0
        too_long = False

        def collect(wav: Any, count: int, events: Any) -> int:
            nonlocal total, too_long
            if wav and count > 0:
                chunks.append(np.ctypeslib.as_array(wav, (count,)).copy())
                total += count
            index = 0
            while events[index].type != 0:
                event = events[index]
                if event.type == _EVENT_PHONEME:
                    phonemes.append((bytes(event.id.string).decode("utf-8", "replace"), event.sample))
                elif event.type == _EVENT_WORD:
                    words.append((event.text_position, event.length, event.sample))
                index += 1
            too_long = total > max_s * rate
            return int(too_long)

        callback = _Callback(collect)
        library.espeak_SetSynthCallback(callback)
        language, plus, variant = voice.variant.partition("+")
        if library.espeak_SetVoiceByName(f"{_languages()[language]}{plus}{variant}".encode()) != 0:
            raise SpeechError(f"The synthesizer refuses the voice {voice.variant!r}.")
        for parameter, value in (
            (_PARAMETER_RATE, voice.rate),
            (_PARAMETER_PITCH, voice.pitch),
            (_PARAMETER_RANGE, pitch_range),
            (_PARAMETER_WORDGAP, word_gap),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        # Breath and hiss are random numbers: its own, which it seeds with the time of day, and the C library's.
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        ctypes.CDLL(None).srand(1)
        raw = text.encode("utf-8")
        library.espeak_Synth(
            raw, ctypes.c_size_t(len(raw) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8 | _ENDPAUSE, None, None
        )
        library.espeak_Synchronize()
        library.espeak_SetSynthCallback(None)
    finally:
        library.espeak_Terminate()
    if too_long:
        raise SpeechError(
            f"A text of {len(text):,} characters makes more than {max_s:g} seconds of speech, which is the limit. "
            "Shorten it."
        )
    pcm = np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
    return Speech(
        samples=(pcm.astype(np.float32) / 32768.0),
        rate=rate,
        phonemes=_phoneme_spans(phonemes, len(pcm), rate),
        words=_word_spans(text, words, len(pcm), rate),
    )


def _phoneme_spans(events: Sequence[tuple[str, int]], total: int, rate: int) -> tuple[Span, ...]:
    spans: list[Span] = []
    for index, (name, sample) in enumerate(events):
        end = events[index + 1][1] if index + 1 < len(events) else total
        start_s, end_s = sample / rate, max(sample, end) / rate
        if not name:
            continue
        if end_s <= start_s and spans:
            # The last phoneme before a pause is announced only when it is over: it gets its share of the one before.
            before = spans[-1]
            start_s = before.start_s + 0.6 * (before.end_s - before.start_s)
            spans[-1] = before._replace(end_s=start_s)
        spans.append(Span(name, start_s, end_s))
    return tuple(spans)


def _word_spans(text: str, events: Sequence[tuple[int, int, int]], total: int, rate: int) -> tuple[Span, ...]:
    if not events:
        return ()
    ends = [*(sample for _, _, sample in events[1:]), total]
    return tuple(
        Span(text[position - 1 : position - 1 + length].strip(), sample / rate, max(sample, end) / rate)
        for (position, length, sample), end in zip(events, ends, strict=True)
    )


@dataclass(frozen=True, slots=True)
class SynthesizerCommand:
    """Another synthesizer, as a command line that writes a WAV file.

    ``template`` is split like a shell would, but no shell runs it. In each argument these are replaced: ``{text}`` (the
    text), ``{text_file}`` (a UTF-8 file that holds it), ``{out}`` (the WAV file to write), ``{voice}`` (the whole
    variant, ``en-us+f3``), ``{language}``, ``{description}``, ``{mood}``, ``{pitch}`` and ``{rate}``.
    """

    template: str
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        if "{out}" not in self.template or ("{text}" not in self.template and "{text_file}" not in self.template):
            raise SpeechError(
                "The synthesizer command must name {out}, the WAV file to write, and {text} or {text_file}, what to "
                f"say; it is: {self.template}"
            )

    def __call__(self, text: str, voice: Voice | None = None, mood: str = "") -> Speech:
        """Speak ``text``; no phonemes and words are known. ``mood``: how the speaker feels, in a few words.

        Raises:
            SpeechError: the command is missing, fails, takes too long, or writes no readable WAV file.
        """
        voice = voice or Voice()
        with Scratch("speech") as scratch:
            out, text_file = scratch.path / "speech.wav", scratch.path / "text.txt"
            text_file.write_text(text, encoding="utf-8")
            values = {
                "{text_file}": str(text_file),
                "{text}": text,
                "{out}": str(out),
                "{voice}": voice.variant,
                "{language}": voice.variant.partition("+")[0],
                "{description}": voice.description,
                "{mood}": mood,
                "{pitch}": str(voice.pitch),
                "{rate}": str(voice.rate),
            }
            pattern = re.compile("|".join(re.escape(key) for key in values))
            argv = [pattern.sub(lambda found: values[found[0]], part) for part in shlex.split(self.template)]
            try:
                done = subprocess.run(argv, capture_output=True, timeout=self.timeout_s, stdin=subprocess.DEVNULL)
            except FileNotFoundError as error:
                raise SpeechError(f"The synthesizer command {argv[0]!r} is not on the PATH; install it.") from error
            except subprocess.TimeoutExpired as error:
                raise SpeechError(f"The synthesizer command {argv[0]!r} took over {self.timeout_s:g} s.") from error
            if done.returncode != 0 or not out.is_file():
                words = done.stderr.decode(errors="replace").strip()[-500:] or "it said nothing"
                raise SpeechError(
                    f"The synthesizer command {argv[0]!r} ended with status {done.returncode} and "
                    f"{'wrote' if out.is_file() else 'without'} a WAV file: {words}"
                )
            return read_wav(out)


def read_wav(path: Path) -> Speech:
    """A WAV file of any sample format as mono speech.

    Raises:
        SpeechError: it is not a readable WAV file.
    """
    try:
        samples, header = decode_wav(path.read_bytes())
    except (OSError, WavError) as error:
        raise SpeechError(f"{path} is not a WAV file that can be read: {error}") from error
    mono = np.nan_to_num(samples.mean(axis=1), posinf=1.0, neginf=-1.0)
    return Speech(mono.astype(np.float32), header.rate)


def write_wav(path: Path, speech: Speech) -> None:
    """Write 16-bit PCM; samples beyond -1..1 are clipped."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.rate)
        file.writeframes((np.clip(speech.samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())


def resample(speech: Speech, rate: int = 16_000) -> Speech:
    """The same speech at ``rate`` samples per second (polyphase filter)."""
    if rate == speech.rate:
        return speech
    from scipy import signal

    divisor = gcd(rate, speech.rate)
    samples = signal.resample_poly(speech.samples, rate // divisor, speech.rate // divisor).astype(np.float32)
    return replace(speech, samples=samples, rate=rate)


def trim(speech: Speech, *, keep_s: float = 0.1, floor_db: float = -45.0) -> Speech:
    """Without the silence at both ends but for ``keep_s`` seconds; silence lies ``floor_db`` below the peak."""
    loud = np.flatnonzero(np.abs(speech.samples) > np.abs(speech.samples).max(initial=0.0) * 10 ** (floor_db / 20))
    if not loud.size:
        return speech
    margin = round(keep_s * speech.rate)
    start, stop = max(0, int(loud[0]) - margin), min(len(speech.samples), int(loud[-1]) + 1 + margin)
    length = (stop - start) / speech.rate

    def moved(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        shift = start / speech.rate
        return tuple(
            Span(text, max(0.0, begin - shift), min(length, max(0.0, end - shift))) for text, begin, end in spans
        )

    return Speech(speech.samples[start:stop], speech.rate, moved(speech.phonemes), moved(speech.words))


def level(speech: Speech, *, loudness_db: float = -20.0, peak_db: float = -1.0) -> Speech:
    """The same speech at a given loudness: RMS over its spoken parts in dB re full scale, peaks at most ``peak_db``.

    Spoken is every 20 ms that lies at most 30 dB below the loudest 20 ms, so pauses do not count.
    """
    size = max(1, speech.rate // 50)
    count = len(speech.samples) // size
    if count == 0:
        return speech
    power = np.square(speech.samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    spoken = power[power > power.max() * 1e-3]
    if not spoken.size:
        return speech
    gain = min(
        10 ** (loudness_db / 20) / float(np.sqrt(spoken.mean())),
        10 ** (peak_db / 20) / float(np.abs(speech.samples).max()),
    )
    return replace(speech, samples=(speech.samples * gain).astype(np.float32))
