"""Speech for services that are driven by sound: the same words by the same synthesizer for each of them."""

from __future__ import annotations

import asyncio

from interbench.base.scratch import Scratch
from interbench.domain.persona import Voice
from interbench.media.speech import SynthesizerCommand, level, synthesize, write_wav


async def spoken_wav(text: str, voice: Voice, command: str | None) -> bytes:
    """``text`` as a mono 16-bit WAV file, by the core's synthesizer or by ``command``.

    Raises:
        SpeechError: the voice is unknown, or the command fails.
    """
    speech = await asyncio.to_thread(SynthesizerCommand(command) if command else synthesize, text, voice)
    with Scratch("speech") as scratch:
        path = scratch.path / "reply.wav"
        write_wav(path, level(speech))
        return path.read_bytes()
