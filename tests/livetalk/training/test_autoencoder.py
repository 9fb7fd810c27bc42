"""An autoencoder of one's own: exact against the runner's, framewise at the beginning, and a run like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from livetalk.cli.main import app
from livetalk.render.config import SIZES
from livetalk.render.vae import WanVAE
from livetalk.training.autoencoder_network import TrainingAutoencoder, published
from livetalk.training.checkpoints import RunError, read_network
from livetalk.training.clips import ClipError, Clips, moving
from typer.testing import CliRunner

VAE = SIZES["tiny"].vae


def write_clip(folder: Path, name: str, split: str = "train", seconds: int = 1) -> None:
    """A square that changes its colour and place before a backdrop of its own."""
    draw = np.random.default_rng(len(name) + ord(name[-1]))
    frames = np.empty((16 * seconds + 1, 32, 32, 3), np.uint8)
    frames[:] = draw.integers(0, 256, 3)
    for index, frame in enumerate(frames):
        frame[8 : 16 + index % 8, 16:24] = draw.integers(0, 256, 3)
    sound = draw.integers(-3000, 3000, 16_000 * seconds + 1000).astype(np.int16)
    about = json.dumps({"caption": f"happy, a person named {name}", "split": split})
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{name}.npz", frames=frames, sound=sound, about=np.array(about))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "clips"
    for name, split in (("look-0", "train"), ("look-1", "train"), ("unseen-0", "unseen")):
        write_clip(folder, name, split)
    return folder


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["train", "autoencoder", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_runner_makes_the_same_of_the_same_weights() -> None:
    network = TrainingAutoencoder(VAE, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw))
        network.measured_mean.normal_(generator=draw)
        network.measured_variance.uniform_(0.5, 2.0, generator=draw)
        frames = torch.rand((1, 3, 9, 32, 32), generator=draw) * 2 - 1
        made, latents = network(frames)
    vae = WanVAE.from_state(VAE, published(VAE, network.state()))
    assert torch.allclose(vae.encode_clip(frames), latents, atol=2e-5)
    assert torch.allclose(vae.decode_float(latents), made, atol=2e-5)


def test_it_begins_framewise() -> None:
    network = TrainingAutoencoder(VAE, seed=0)
    frames = torch.rand((1, 3, 5, 32, 32)) * 2 - 1
    with torch.no_grad():
        made, latents = network(frames)
        last = network(frames[:, :, 4:])
    assert torch.allclose(latents[:, :, 1:], last[1], atol=1e-5)
    for shown in range(1, 5):
        assert torch.allclose(made[:, :, shown], last[0][:, :, 0], atol=1e-5)


def test_a_run_goes_on_bitwise_and_hands_over_from_images_to_clips(clips: Path, tmp_path: Path) -> None:
    small = ("--size", "tiny", "--crop", 16, "--batch", 2)
    first, straight = tmp_path / "first", tmp_path / "straight"
    for steps in (2, 4):
        run(clips, "--out", first, *small, "--steps", steps)
    assert "step 4 of 4, complete" in run(clips, "--out", straight, *small, "--steps", 4)
    states = [read_network(one, "ema") for one in (first, straight)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    second = tmp_path / "second"
    output = run(clips, "--out", second, *small, "--phase", "clips", "--init", first, "--steps", 1, "--frames", 5)
    assert "step 1 of 1" in output
    begun = read_network(first, "ema")
    learned = read_network(second, "student")
    assert torch.equal(begun["measured_mean"], learned["measured_mean"])  # frozen: latents keep their meaning
    assert not torch.equal(begun["module.decoder.conv_in.weight"], learned["module.decoder.conv_in.weight"])
    with pytest.raises(RunError, match="batch is 2 there, 1 here"):
        run(clips, "--out", first, "--size", "tiny", "--crop", 16, "--batch", 1)


def test_clips_that_are_none_are_named(clips: Path, tmp_path: Path) -> None:
    assert moving(Clips(clips).train[0].frames).argmax() in (6, 10)  # rows 8 to 24, columns 16 to 24, in cells of 8
    write_clip(tmp_path, "a")
    write_clip(tmp_path, "b", seconds=2)
    with pytest.raises(ClipError, match="clips of several shapes"):
        Clips(tmp_path)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ClipError, match=r"b\.npz is no clip"):
        Clips(tmp_path)
    (tmp_path / "b.npz").unlink()
    (tmp_path / "a.npz").unlink()
    with pytest.raises(ClipError, match="no clip to train on"):
        Clips(tmp_path)
