"""Scenes that look filmed: textured wall, person, camera noise and unsteadiness; and conversations made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from interbench.domain.records import Outcome, PlayedConversation, PlayedTurn, Transcript, Verdict
from interbench.domain.scenario import KeyPoint, Scenario, Turn
from interbench.judge.base import JudgeTask
from interbench.judge.signals.judge import Signals
from interbench.media.pool import MediaPool

SIDE = 128
Pixels = np.ndarray


@dataclass(frozen=True)
class Scene:
    """Who, in what, before what. Colours are RGB; seeds choose textures."""

    wall: tuple[int, int, int] = (150, 160, 150)
    wall_seed: int = 1
    skin: tuple[int, int, int] = (200, 150, 125)
    hair: tuple[int, int, int] = (60, 40, 30)
    long_hair: bool = False
    shirt: tuple[int, int, int] = (60, 80, 130)
    shirt_seed: int = 2
    striped: bool = False


def _texture(seed: int, strength: float) -> Pixels:
    """Noise with a 1/f spectrum, as photographed surfaces have: [SIDE, SIDE, 1]."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequency).real
    pattern: np.ndarray = (strength * field / field.std())[..., None]
    return pattern


def _film(scene: Scene, seed: int, frames: int, smile: float) -> list[Pixels]:
    """Talking, blinking, swaying and nodding in front of a hand-held camera with a noisy sensor."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    wall = np.array(scene.wall) + _texture(scene.wall_seed, 30)
    cloth = np.array(scene.shirt) + _texture(scene.shirt_seed, 10)
    if scene.striped:
        cloth = cloth + 60 * (np.sin(x * 80) > 0)[..., None]
    sway, phase = rng.uniform(0.005, 0.02), rng.uniform(0, 6)
    pictures = []
    for index in range(frames):
        time = index / 12
        dx, dy = sway * np.sin(2 * time + phase), 0.012 * np.sin(3.1 * time + phase)
        picture = wall.copy()
        picture[((x - 0.5 - dx / 2) / 0.36) ** 2 + ((y - 1.05) / 0.32) ** 2 < 1] = 0
        body = (picture == 0).all(axis=-1)
        picture[body] = cloth[body]
        head_x, head_y = x - 0.5 - dx, y - 0.42 - dy
        if scene.long_hair:
            picture[(np.abs(head_x) < 0.2) & (head_y > -0.2) & (head_y < 0.3)] = scene.hair
        picture[(head_x / 0.18) ** 2 + ((head_y + 0.05) / 0.24) ** 2 < 1] = scene.hair
        face = (head_x / 0.15) ** 2 + ((head_y - 0.02) / 0.2) ** 2 < 1
        picture[face] = scene.skin
        if index % 20 > 1:  # eyes open
            for side in (-0.06, 0.06):
                picture[((head_x - side) / 0.025) ** 2 + ((head_y + 0.02) / 0.012) ** 2 < 1] = (30, 30, 35)
        opening = abs(np.sin(9 * time + phase)) * 0.025 + 0.004
        mouth = (head_x / (0.05 + smile)) ** 2 + ((head_y - 0.1) / opening) ** 2 < 1
        picture[mouth] = (130, 50, 55)
        picture = np.roll(picture, rng.integers(-1, 2), axis=int(rng.integers(2)))
        picture = picture * rng.uniform(0.98, 1.02) + rng.normal(scale=6, size=picture.shape)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def write_video(path: Path, pictures: list[Pixels], crf: int = 28) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=12, options={"preset": "ultrafast", "crf": str(crf)})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="session")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="session")
def change() -> Callable[..., Scene]:
    return replace


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("films")
    made: dict[tuple[object, ...], Path] = {}

    def make(scene: Scene, seed: int = 0, *, frames: int = 14, smile: float = 0.0) -> Path:
        key = (scene, seed, frames, smile)
        if key not in made:
            made[key] = write_video(folder / f"{len(made)}.mp4", _film(scene, seed, frames, smile))
        return made[key]

    return make


def _zoomed(picture: Pixels, zoom: float) -> Pixels:
    margin = (SIDE - SIDE / zoom) / 2
    box = (margin, margin, SIDE - margin, SIDE - margin)
    image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)


def _bars(index: int) -> Pixels:
    """The seven bars of a test card at three quarters of full level."""
    colours = np.array(
        [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)], np.uint8
    )
    return np.roll(colours[np.arange(SIDE) * 7 // SIDE][None].repeat(SIDE, axis=0), index, axis=1)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``filmed(scene, what)``: the same scene as the camera was set otherwise, or something that is no scene."""
    folder = tmp_path_factory.mktemp("otherwise")
    rng = np.random.default_rng(0)
    ways: dict[str, Callable[[Pixels, int], Pixels]] = {
        "darker": lambda p, n: p * 0.85,
        "brighter": lambda p, n: p * 1.15,
        "raised": lambda p, n: p + 15.0,
        "lowered": lambda p, n: p - 15.0,
        "zoomed 4 %": lambda p, n: _zoomed(p, 1.04),
        "zoomed 11 %": lambda p, n: _zoomed(p, 1.11),
        "noise": lambda p, n: rng.integers(0, 256, p.shape),
        "blocks": lambda p, n: np.kron(rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)), np.ones((8, 8, 1))),
        "bars": lambda p, n: _bars(0),
        "empty room": lambda p, n: np.roll(p[:24].repeat(6, axis=0)[:SIDE] * 0.0 + 90 + _texture(3, 25), n, axis=1),
        "moving bars": lambda p, n: _bars(n),
    }

    def make(scene: Scene, what: str) -> Path:
        path = folder / f"{what.replace(' ', '-').replace('%', '')}.mp4"
        if not path.exists():
            pictures = _film(scene, 1, 14, 0.0)
            if what == "held":
                pictures = pictures[:1] * 14
            else:
                pictures = [ways[what](p, n).clip(0, 255).astype(np.uint8) for n, p in enumerate(pictures)]
            write_video(path, pictures)
        return path

    return make


@pytest.fixture
def plain_film(tmp_path: Path) -> Callable[..., Path]:
    """A clip of one colour, with a noisy sensor if ``noise`` is not zero."""

    def make(colour: tuple[int, int, int] = (0, 0, 0), noise: float = 0.0) -> Path:
        rng = np.random.default_rng(0)
        pictures = [
            (np.array(colour) + rng.normal(scale=noise, size=(SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
            for _ in range(12)
        ]
        return write_video(tmp_path / f"plain-{colour[0]}.mp4", pictures)

    return make


@pytest.fixture(scope="session")
def tower() -> Scenario:
    """Two turns on a tower: three key points of the first, two of the second, one of which needs the first."""
    return Scenario(
        id="tower",
        category="places",
        title="A tower",
        persona="tess",
        turns=(
            Turn(
                text="Tell me about the tower, please.",
                mood="curious",
                reply="Gustave Eiffel's company built it for the fair of 1889. It is 330 metres tall and made of iron.",
                key_points=(
                    KeyPoint(text="Eiffel's company built it", accept=("Eiffel",)),
                    KeyPoint(text="It opened in 1889", accept=("1889",)),
                    KeyPoint(text="It is 330 metres tall", accept=("330 metres",)),
                ),
            ),
            Turn(
                text="And how old was it when the war began?",
                mood="curious",
                reply="Twenty-five years: it opened in 1889 and the war broke out in the summer of 1914.",
                key_points=(
                    KeyPoint(text="It was 25 years old", accept=("25 years",), needs=(1,)),
                    KeyPoint(text="The war began in 1914", accept=("1914",)),
                ),
            ),
        ),
    )


@pytest.fixture(scope="session")
def played() -> Callable[..., PlayedConversation]:
    """``played(scenario, replies, clips)``: the conversation as a system played it."""

    def make(scenario: Scenario, replies: list[str], clips: list[Path] | None = None) -> PlayedConversation:
        turns = tuple(
            PlayedTurn(
                index=index,
                user_text=turn.text,
                user_mood=turn.mood,
                outcome=Outcome.COMPLETED,
                message="",
                clip=None if clips is None else clips[index - 1],
                facts=None,
                transcript=Transcript(reply, flags=("reported",) if reply else ("reported", "silent")),
            )
            for index, (turn, reply) in enumerate(zip(scenario.turns, replies, strict=True), start=1)
        )
        return PlayedConversation("someone", scenario, turns, "given")

    return make


@pytest.fixture
def verdicts() -> Callable[..., object]:
    """``await verdicts(conversation, *dimensions)``: by dimension."""

    async def ask(
        conversation: PlayedConversation, *dimensions: str, media: MediaPool | None = None, faces: bool = False
    ) -> dict[str, Verdict]:
        judge = Signals(media, faces=faces)
        await judge.start()
        try:
            given = [v async for v in judge.judge(conversation, [JudgeTask(d) for d in dimensions])]
        finally:
            await judge.stop()
        return {verdict.dimension: verdict for verdict in given}

    return ask
