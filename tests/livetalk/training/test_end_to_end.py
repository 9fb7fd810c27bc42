"""From clips of people to an exported student that the runner renders with, nearer to its teacher than it began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from curation_kit import FPS, babble, write_clip
from livetalk.cli.main import app
from livetalk.render.checkpoint import load_dit
from livetalk.render.config import SIZES, StreamConfig
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.audio import lead_in
from livetalk.render.performer import generate_latents
from livetalk.training.conditions import read_conditions
from livetalk.training.draws import normal
from livetalk.training.records import ConditionReader, TrajectoryReader
from PIL import Image
from typer.testing import CliRunner

TINY = SIZES["tiny"]
FRAMES = 6
SECONDS = 1.3125
"""Of a cut: 21 frames of video, which are 6 of latents."""
FACTOR = 0.75
"""What is left of the distance at most."""


def clip(path: Path, seeds: range) -> Path:
    """A clip in which one random person speaks after another, each as long as a cut, and then someone in the dark."""
    count = len(seeds) + 1
    people = []
    for seed in seeds:
        draw = np.random.default_rng(seed)
        people.append(draw.integers(0, 256, (4, 4, 3)).astype(np.uint8))
    people.append((people[0] * 0.05).astype(np.uint8))
    pictures = [np.asarray(Image.fromarray(one).resize((128, 128), Image.Resampling.BICUBIC)) for one in people]
    # Somewhat more than the cuts take: an encoder may leave the end out.
    sound = np.concatenate([*(babble(SECONDS, seed) for seed in (*seeds, 1000)), np.zeros(8000, np.float32)])
    return write_clip(
        path,
        pictures[0],
        sound,
        moving=lambda _, frame: pictures[min(int(frame / FPS / SECONDS), count - 1)],
        seconds=count * SECONDS,
    )


def curated(folder: Path, name: str, seeds: range, *more: object) -> Path:
    """The conditions of a clip of these persons: those in the light."""
    clip(folder / f"{name} clips" / "people.mp4", seeds)
    (folder / f"{name} clips" / "people.txt").write_text("A person speaks and smiles.\n")
    thresholds = folder / "thresholds.toml"
    thresholds.write_text("[seconds]\nleast = 1.3\n[luma]\nleast = 0.15\n[speech_share]\nleast = 0.3\n")
    out = folder / f"{name} conditions"
    cuts = ("--seconds", SECONDS, "--cuts", len(seeds) + 1, "--faces", "none", "--thresholds", thresholds)
    told = verb("train", "curate", folder / f"{name} clips", "--out", out, *cuts, *more)
    assert f"{len(seeds) + 1} items measured, {len(seeds)} kept" in told
    return out


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


def distil(tmp_path: Path, *, samples: int, ode: int, batch: int, dmd: int) -> tuple[float, float]:
    """The whole recipe; the distance before and after."""
    tiny = ("--size", "tiny", "--device", "cpu")
    sampling = (*tiny, "--steps", 4, "--frames", FRAMES, "--stored", "float32")
    held_out = curated(tmp_path, "held out", range(100, 103))
    conditions = curated(tmp_path, "data", range(samples), "--against", tmp_path / "held out clips")
    for listed, name in ((conditions, "data"), (held_out, "held out")):
        verb("train", "trajectories", listed, "--out", tmp_path / name, *sampling)
    data, first, second = (tmp_path / name for name in ("data", "ode", "dmd"))
    common = ("--data", data, *tiny)
    learn = ("--batch", batch, "--steps", ode, "--learning-rate", 2e-3, "--warm-up", 3, "--save-every", ode)
    verb("train", "ode", *common, "--out", first, "--init", "random:0", *learn)
    match = ("--batch", 1, "--steps", dmd, "--critic-warm-up", 1, "--every", 2, "--ema-start", 2, "--save-every", dmd)
    networks = ("--init", first, "--critic", "random:0", "--teacher", "random:0")
    verb("train", "dmd", *common, "--out", second, *networks, *match)
    student = tmp_path / "model.safetensors"
    verb("train", "export", second, "--out", student, "--size", "tiny", "--dtype", "float32")
    shown, example = tmp_path / "clip.mp4", read_conditions(held_out)[0]
    given = ("--image", example.image, "--audio", example.audio, "--output", shown)
    verb("generate", "--weights", student, *tiny, *given, "--seconds", 1)
    assert shown.stat().st_size > 1000
    before = CausalDiT.from_state(TINY.dit, random_state(TINY.dit, seed=0))
    after = load_dit(student, TINY.dit, dtype=torch.float32)
    return distance(before, tmp_path / "held out"), distance(after, tmp_path / "held out")


def test_the_recipe_brings_a_student_nearer_to_its_teacher(tmp_path: Path) -> None:
    before, after = distil(tmp_path, samples=6, ode=24, batch=1, dmd=3)
    assert after < FACTOR * before, f"{before:.3f} before, {after:.3f} after"


@pytest.mark.soak
def test_a_longer_run_comes_nearer_still(tmp_path: Path) -> None:
    before, after = distil(tmp_path, samples=16, ode=300, batch=2, dmd=12)
    assert after < 0.6 * before, f"{before:.3f} before, {after:.3f} after"
