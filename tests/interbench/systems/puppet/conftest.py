from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from known import known

from interbench.domain.persona import Persona
from interbench.systems.events import PastTurn, ReferenceReply, TurnRequest

SCENARIOS = Path(__file__).parents[4] / "scenarios"


@dataclass(frozen=True)
class Decoded:
    """A clip, decoded with PyAV: RGB frames of shape (n, height, width, 3) and mono samples."""

    frames: npt.NDArray[np.uint8]
    fps: float
    samples: npt.NDArray[np.float32]
    rate: int
    video_codec: str
    audio_codec: str
    pixel_format: str


@pytest.fixture(scope="session")
def decode() -> Callable[[Path], Decoded]:
    def read(path: Path) -> Decoded:
        with av.open(str(path), "r") as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            frames, sound = [], []
            for frame in container.decode(video, audio):
                if isinstance(frame, av.VideoFrame):
                    frames.append(frame.to_ndarray(format="rgb24"))
                elif isinstance(frame, av.AudioFrame):
                    sound.append(frame.to_ndarray()[0])
            return Decoded(
                frames=np.stack(frames),
                fps=float(known(video.average_rate)),
                samples=np.concatenate(sound),
                rate=audio.rate,
                video_codec=video.codec_context.name,
                audio_codec=audio.codec_context.name,
                pixel_format=known(video.codec_context.pix_fmt),
            )

    return read


@pytest.fixture(scope="session")
def personas() -> list[Persona]:
    lines = (SCENARIOS / "personas.jsonl").read_text(encoding="utf-8").splitlines()
    return [Persona.model_validate_json(line) for line in lines]


@pytest.fixture(scope="session")
def maya(personas: list[Persona]) -> Persona:
    return personas[0]


@pytest.fixture
def reference() -> ReferenceReply:
    return ReferenceReply(
        reply="Yes, of course. The tower is 330 metres tall. You said heights scare you, so take the ground floor.",
        mood="warm, reassuring",
        off_topic_reply="Boil the eggs for nine minutes.",
        context_points=("heights scare you",),
        leans_on=(1,),
        key_points=(("330 metres",), ("heights scare you", "afraid of heights"), ("ground floor",)),
    )


@pytest.fixture
def turn(tmp_path: Path) -> Callable[..., TurnRequest]:
    def make(reference: ReferenceReply | None, *, index: int = 1, history: tuple[PastTurn, ...] = ()) -> TurnRequest:
        workdir = tmp_path / f"turn-{index}"
        workdir.mkdir()
        return TurnRequest(
            scenario="test",
            index=index,
            text="How tall is it?",
            audio=None,
            history=history,
            portrait=None,
            seed=5,
            workdir=workdir,
            deadline_s=120.0,
            reference=reference,
        )

    return make
