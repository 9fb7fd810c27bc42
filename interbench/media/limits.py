"""What a media worker is held to, and what it finds in a sound file. Light to import: every worker starts with it."""

from __future__ import annotations

from dataclasses import dataclass

AUDIO_RATE = 16_000
"""Samples per second of everything :meth:`interbench.media.pool.MediaPool.audio` gives."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask of a media worker."""

    duration_s: float = 1200.0
    """Longest playback duration."""
    pixels: int = 4096 * 4096
    """Most pixels in a frame."""
    streams: int = 16
    file_bytes: int = 2 * 2**30
    memory_bytes: int = 2 * 2**30
    """Address space of the worker process."""
    output_bytes: int = 512 * 2**20
    """Largest file the worker may write, i.e. samples or pixels handed back."""
    timeout_s: float = 300.0
    """Wall time and processor time of one call."""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What is in a sound file, found by decoding all of it."""

    container: str
    codec: str
    rate: int
    """Samples per second, as stored."""
    channels: int
    duration_s: float
    peak: float
    """Largest magnitude of any channel; 1 is full scale."""
    rms: float
    """Root of the mean square over all channels and the whole length; 1 is full scale."""
