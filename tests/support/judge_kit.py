"""What tests and benchmarks of the judge share: real small clips and conversations made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from interbench.domain.records import ClipFacts, Outcome, PlayedConversation, PlayedTurn, Transcript
from interbench.domain.scenario import Scenario


def write_clip(path: Path, frames: int, fps: int, width: int, height: int, shade: int = 90) -> ClipFacts:
    """An H.264 MP4 of a square that wanders over a plain background, and its facts."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "35", "preset": "ultrafast"}
        for index in range(frames):
            picture = np.full((height, width, 3), shade, np.uint8)
            left = (width - 32) * index // max(1, frames - 1)
            picture[height // 2 - 16 : height // 2 + 16, left : left + 32] = 250
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return clip_facts(path, frames, fps, width, height)


def clip_facts(path: Path, frames: int, fps: float, width: int, height: int) -> ClipFacts:
    """Facts of a clip that was made with these figures."""
    data = path.read_bytes()
    return ClipFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        duration_s=frames / fps,
        frames=frames,
        fps=fps,
        width=width,
        height=height,
        video_codec="h264",
        has_audio=False,
        audible=False,
        audio_s=0.0,
        speech_start_s=None,
    )


def conversation(
    clips: Sequence[tuple[Path, ClipFacts]],
    said: Sequence[tuple[str, str]] | None = None,
    *,
    system: str = "secret-system-name",
    scenario: str = "museum-visit",
) -> PlayedConversation:
    """A complete conversation: one turn per clip; ``said`` are the words of user and avatar."""
    said = said or [(f"What is behind door {n}?", f"Behind door {n} is a garden.") for n in range(1, len(clips) + 1)]
    script = Scenario.model_validate(
        {
            "id": scenario,
            "category": "travel",
            "title": "A visit",
            "persona": "tess",
            "turns": [{"text": user or "?", "mood": "curious", "reply": "A garden."} for user, _ in said],
        }
    )
    turns = tuple(
        PlayedTurn(
            index=index,
            user_text=user,
            user_mood="curious",
            outcome=Outcome.COMPLETED,
            message="",
            clip=path,
            facts=facts,
            transcript=Transcript(avatar, flags=() if avatar else ("silent",)),
        )
        for index, ((path, facts), (user, avatar)) in enumerate(zip(clips, said, strict=True), start=1)
    )
    return PlayedConversation(system, script, turns, "given")
