"""The user's speech as systems are handed it: WAV or MP3, whatever a set keeps it in."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import defaultdict
from pathlib import Path

from interbench.base.errors import MediaError
from interbench.media.pool import AUDIO_RATE, MediaPool, encode_audio

HANDED_OVER = frozenset({".wav", ".mp3"})
"""Endings of files that every system is expected to read; others are decoded to WAV first."""


class UserSpeech:
    """Recordings of users, decoded once each to 16 kHz mono WAV where a system might not read them as they are.

    Args:
        media: decodes them.
        folder: where the decoded ones lie; it is made when it is needed, and belongs to its owner.
    """

    def __init__(self, media: MediaPool, folder: Path) -> None:
        self._media = media
        self._folder = folder
        self._locks: dict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def playable(self, path: Path | None) -> Path | None:
        """``path``, or a WAV file of the same sound; None for none.

        Raises:
            MediaError: it can't be decoded.
        """
        if path is None or path.suffix.lower() in HANDED_OVER:
            return path
        # By its path: a run plays the recordings that it was planned with.
        target = (self._folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.wav").resolve()
        async with self._locks[path]:
            if not target.exists():
                samples = await self._media.audio(path)
                if samples is None:
                    raise MediaError("no_audio", f"{path} has no sound, so no system can be handed what the user says")
                target.parent.mkdir(parents=True, exist_ok=True)
                # Drivers of several systems may be at the same line; whoever is last replaces the same by the same.
                temporary = target.with_name(f"{uuid.uuid4().hex}-{target.name}")
                await asyncio.to_thread(encode_audio, samples, AUDIO_RATE, temporary)
                temporary.replace(target)
        return target
