"""From pictures and speech to an exported student that the runner renders with, nearer to its teacher than it began."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from livetalk.cli.main import app
from livetalk.render.checkpoint import load_dit
from livetalk.render.config import SIZES, StreamConfig
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.audio import lead_in
from livetalk.render.performer import generate_latents
from livetalk.training.draws import normal
from livetalk.training.records import ConditionReader, TrajectoryReader
from PIL import Image
from typer.testing import CliRunner

TINY = SIZES["tiny"]
FRAMES = 6
FACTOR = 0.75
"""What is left of the distance at most."""


def conditions(folder: Path, seeds: range, sound: Callable[[int], bytes]) -> Path:
    """Pictures, speech and texts of random people."""
    folder.mkdir()
    for seed in seeds:
        draw = np.random.default_rng(seed)
        coarse = draw.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
        (folder / f"{seed}.wav").write_bytes(sound(seed))
        (folder / f"{seed}.txt").write_text(f"Person {seed} speaks and smiles.\n")
    return folder


def verb(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@torch.no_grad()
def distance(dit: CausalDiT, held_out: Path) -> float:
    """Root-mean-square distance of what the runner generates from where the teacher's trajectories end, from the same
    noise, over samples that nobody was trained on."""
    encoded, trajectories = ConditionReader(held_out), TrajectoryReader(held_out)
    settings = encoded.settings
    stream = StreamConfig(latent_height=settings.height, latent_width=settings.width, window=-1)
    squares = []
    for name in trajectories.ids():
        record, states = encoded.read(name), trajectories.states(name).float()
        shape = (FRAMES // 3, stream.steps - 1, 3, *states.shape[2:])
        made = generate_latents(
            dit,
            noise=states[:1],
            step_noise=normal(shape, 0, name),
            reference=record.reference.float().transpose(0, 1)[None],
            audio=dit.embed_audio(lead_in(record.audio.float()))[:, :, None, None],
            context=record.context(settings.text_rows).float(),
            stream=stream,
        )
        squares.append(float((made[0] - states[-1]).square().mean()))
    return float(np.mean(squares) ** 0.5)


def distil(tmp_path: Path, sound: Callable[[int], bytes], *, samples: int, ode: int, dmd: int) -> tuple[float, float]:
    """The whole recipe; the distance before and after."""
    tiny = ("--size", "tiny", "--device", "cpu")
    sampling = (*tiny, "--steps", 12, "--frames", FRAMES, "--stored", "float32")
    for name, seeds in (("data", range(samples)), ("held out", range(100, 103))):
        listed = conditions(tmp_path / f"{name} conditions", seeds, sound)
        verb("train", "trajectories", listed, "--out", tmp_path / name, *sampling)
    data, first, second = (tmp_path / name for name in ("data", "ode", "dmd"))
    common = ("--data", data, *tiny, "--batch", 2)
    learn = ("--steps", ode, "--learning-rate", 2e-3, "--warm-up", 5, "--save-every", ode)
    verb("train", "ode", *common, "--out", first, "--init", "random:0", *learn)
    match = ("--steps", dmd, "--critic-warm-up", 1, "--every", 2, "--ema-start", 2, "--save-every", dmd)
    networks = ("--init", first, "--critic", "random:0", "--teacher", "random:0")
    verb("train", "dmd", *common, "--out", second, *networks, *match)
    student = tmp_path / "model.safetensors"
    verb("train", "export", second, "--out", student, "--size", "tiny", "--dtype", "float32")
    clip, example = tmp_path / "clip.mp4", tmp_path / "held out conditions"
    shown = ("--image", example / "100.png", "--audio", example / "100.wav", "--output", clip)
    verb("generate", "--weights", student, *tiny, *shown, "--seconds", 1)
    assert clip.stat().st_size > 1000
    before = CausalDiT.from_state(TINY.dit, random_state(TINY.dit, seed=0))
    after = load_dit(student, TINY.dit, dtype=torch.float32)
    return distance(before, tmp_path / "held out"), distance(after, tmp_path / "held out")


@pytest.fixture
def sound(wav: Callable[..., bytes], voice: Callable[[float], np.ndarray]) -> Callable[[int], bytes]:
    def make(seed: int) -> bytes:
        return wav(np.roll(voice(2.0), 1000 * seed))

    return make


def test_the_recipe_brings_a_student_nearer_to_its_teacher(tmp_path: Path, sound: Callable[[int], bytes]) -> None:
    before, after = distil(tmp_path, sound, samples=6, ode=40, dmd=3)
    assert after < FACTOR * before, f"{before:.3f} before, {after:.3f} after"


@pytest.mark.soak
def test_a_longer_run_comes_nearer_still(tmp_path: Path, sound: Callable[[int], bytes]) -> None:
    before, after = distil(tmp_path, sound, samples=16, ode=300, dmd=12)
    assert after < 0.6 * before, f"{before:.3f} before, {after:.3f} after"
