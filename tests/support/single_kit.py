"""What tests of the single-round metrics share: small real clips, and small checkpoints in the published formats."""

from __future__ import annotations

import math
import os
import time
import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from interbench.domain.persona import Persona
from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, Taken
from interbench.single.figures import per_clip
from interbench.systems.capabilities import Capabilities
from interbench.systems.clip import ClipSystem, Reply
from interbench.systems.events import TurnRequest

if TYPE_CHECKING:  # not here: a system's process that imports this module has no need of it
    import torch

RATE = 16_000
Picture = Callable[[int], npt.NDArray[np.uint8]]


def moving(side: int, seed: int) -> Picture:
    """A texture that drifts, with a block that opens and closes: what each frame looks like."""
    random = np.random.default_rng(seed)
    texture = random.integers(0, 255, (side // 16, side // 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)

    def picture(number: int) -> npt.NDArray[np.uint8]:
        frame = np.roll(texture, number % 16, axis=1).copy()
        open_ = round(side / 8 * (1 + math.sin(number * 0.9 + seed)))
        frame[side // 2 : side // 2 + open_, side // 3 : side // 2] = 20
        return frame

    return picture


def write_video(
    path: Path,
    picture: Picture,
    *,
    frames: int = 20,
    fps: int = 25,
    sound: npt.NDArray[np.float32] | None = None,
    silent: bool = False,
) -> Path:
    """A real MP4; with speech-like sound unless some is given, without a track if ``silent``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = picture(0)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18"})
        video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        audio = None if silent else container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            if sound is None:
                sound = babble(round(frames / fps * RATE), seed=len(path.name))
            piece = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            piece.sample_rate = RATE
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def babble(samples: int, seed: int) -> npt.NDArray[np.float32]:
    """Noise and a tone that come and go some times a second."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    loud = np.clip(np.sin(2 * np.pi * (3 + seed % 3) * t), 0, 1)
    return (loud * (0.2 * random.standard_normal(samples) + 0.2 * np.sin(2 * np.pi * 180 * t))).astype(np.float32)


def formula(network: torch.nn.Module, seed: int = 1) -> dict[str, torch.Tensor]:
    from interbench.single.nets.formula import formula_state

    return formula_state({key: tuple(value.shape) for key, value in network.state_dict().items()}, seed)


def write_inception(path: Path) -> Path:
    import torch

    from interbench.single.nets.inception import Inception

    torch.save(formula(Inception()), path)
    return path


def write_i3d(path: Path) -> Path:
    import torch

    from interbench.single.nets.i3d import I3D

    torch.save(formula(I3D()), path)
    return path


def write_syncnet(path: Path) -> Path:
    import torch

    from interbench.single.nets.syncnet import SyncNet

    # The format that the published file has: before PyTorch had archives.
    torch.save(formula(SyncNet()), path, _use_new_zipfile_serialization=False)
    return path


def write_s3fd(path: Path, *, face: bool = True, share: float = 0.5) -> Path:
    """A detector that sees one face in the middle of every picture, ``share`` of a square picture of 256 pixels wide;
    or none at all."""
    import torch

    from interbench.single.nets.s3fd import S3FD

    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in S3FD().state_dict().items()}
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    for level in range(6):
        state[f"conf.{level}.bias"][0] = 9.0
    if face:
        # The coarsest level has one anchor for a small picture, of 512 pixels, in its middle.
        state["conf.5.bias"] = torch.tensor([-9.0, 9.0])
        state["loc.5.bias"][2:] = math.log(share * 64 / 512) / 0.2
        # ... whose middle lies at 64 of 64 pixels.
        state["loc.5.bias"][:2] = -(32 / 512) / 0.1
    torch.save(state, path)
    return path


def small_owl() -> Any:
    from interbench.single.nets.mplug_owl2 import AbstractorConfig, OwlConfig, VisionConfig

    return OwlConfig(
        400, 32, 48, 2, 4, 4,
        vision=VisionConfig(32, 48, 2, 4, 448, 56),
        abstractor=AbstractorConfig(4, 32, 2, 4, 48, encoder_hidden_size=32),
    )  # fmt: skip


class Reenacts(ClipSystem):
    """Shows its reference image, shaking, to the sound that it was given; notes each rendering in a log.

    Args:
        log: a file that gets a line for every condition.
        pause_s: how long it takes over each.
        die_at: the condition at which its process is killed, once.
        refuses: the condition for which it makes nothing.
    """

    capabilities = Capabilities(inputs=frozenset({"audio", "image"}))

    def __init__(
        self, log: str | None = None, pause_s: float = 0.0, die_at: str | None = None, refuses: str | None = None
    ) -> None:
        self._log, self._pause_s, self._die_at, self._refuses = log, pause_s, die_at, refuses

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        if self._log is not None:
            with Path(self._log).open("a") as log:
                log.write(f"{turn.scenario}\n")
            if turn.scenario == self._die_at and Path(self._log).read_text().count(turn.scenario) == 1:
                os.kill(os.getpid(), 9)
        if turn.scenario == self._refuses:
            raise RuntimeError("not this one")
        time.sleep(self._pause_s)
        assert turn.portrait is not None and turn.audio is not None
        still = np.asarray(Image.open(turn.portrait).convert("RGB"))
        seconds, sound = wav_of(turn.audio)
        write_video(
            output, lambda number: np.roll(still, number, axis=1), frames=round(seconds * 25), fps=25, sound=sound
        )
        return Reply()


class ShowsSpeech(Reenacts):
    """Makes its picture to the reply's sound, as a system that only makes pictures does."""

    @property
    def takes_speech(self) -> bool:
        return True

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        assert turn.speech is not None and turn.audio is not None
        assert turn.speech.read_bytes() == turn.audio.read_bytes()
        return super().render(persona, turn, output)


def wav_of(path: Path) -> tuple[float, npt.NDArray[np.float32]]:
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return len(samples) / RATE, samples.astype(np.float32) / np.float32(32768)


class Talks(ClipSystem):
    """A square whose block opens and closes with its sound, for 2.4 seconds."""

    capabilities = Capabilities(reports_text=True, needs_reference=True)

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        write_video(output, moving(256, turn.index), frames=60, sound=babble(round(2.4 * RATE), seed=turn.index))
        assert turn.reference is not None
        return Reply(turn.reference.reply)


class Brightness(Metric):
    """A metric from outside: the mean of all pixels."""

    columns = (Column("brightness", "Brightness", "neither", "mean of all pixels"),)

    def identity(self) -> Mapping[str, Any]:
        return {"metric": "brightness"}

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        means = [stretch.pixels.mean() async for stretch in media.sequence(clip.path)]
        return Measured({"brightness": float(np.mean(means))})

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        return {"brightness": per_clip(own, "brightness", seed=seed)}
