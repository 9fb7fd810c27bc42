"""An avatar that does as little as an avatar can: the persona's portrait, and a voice."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from interbench.systems import Capabilities, ClipSystem, Persona, TurnRequest, synthesize

__version__ = "0.1.0"


class StillAvatar(ClipSystem):
    """Shows the persona's portrait and says that it heard the user."""

    capabilities = Capabilities(inputs=frozenset({"text", "image"}), reports_text=True, sizes=((512, 512),), fps=5.0)

    def __init__(self, greeting: str = "You said:") -> None:
        self._greeting = greeting

    @property
    def version(self) -> str:
        return __version__

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> str:
        reply = f"{self._greeting} {turn.text}"
        speech = synthesize(reply, persona.voice)
        write_clip(output, _picture(turn.portrait), speech.samples, speech.rate)
        return reply


def _picture(portrait: Path | None) -> np.ndarray:
    if portrait is None:
        return np.full((512, 512, 3), 200, np.uint8)
    with Image.open(portrait) as image:
        return np.asarray(image.convert("RGB").resize((512, 512)))


def write_clip(path: Path, picture: np.ndarray, samples: np.ndarray, rate: int) -> None:
    """One picture for as long as the sound lasts; H.264 and AAC in an MP4."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono")
        for _ in range(int(len(samples) / rate * 5) + 1):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
