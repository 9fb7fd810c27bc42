"""A small model of one's own, from clips to a folder that the runner loads and the recipe distils."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from livetalk.base.errors import OptionError
from livetalk.cli.main import app
from livetalk.render.checkpoint import check_vae
from livetalk.render.config import SIZES
from livetalk.render.encoders.image import preprocess
from livetalk.render.options import ModelOptions
from livetalk.render.vae import WanVAE
from livetalk.sound.files import read_audio
from livetalk.training.autoencoder_network import TrainingAutoencoder, published, unpublished
from livetalk.training.checkpoints import RunError, read_network
from livetalk.training.clip_latents import EncodedClip, EncodedClips
from livetalk.training.clips import ClipError, Clips, moving
from livetalk.training.conditions import read_conditions
from livetalk.training.own_stage import fill
from livetalk.training.records import RecordError
from livetalk.training.teacher import Taught, begin_as
from livetalk.training.vocabulary import tokenizer_of
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

VAE = SIZES["tiny"].vae
CONDITIONS = Path(__file__).parents[3] / "examples" / "mini" / "conditions.py"


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


def train(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
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


def test_latents_of_a_picture_are_no_matter_of_its_batch() -> None:
    frames = torch.rand((2, 3, 1, 32, 32)) * 2 - 1
    alone, together = TrainingAutoencoder(VAE, seed=0), TrainingAutoencoder(VAE, seed=0)
    with torch.no_grad():
        latents = together.encode(frames, measure=True)
        assert torch.allclose(alone.encode(frames[:1], measure=True), latents[:1], atol=1e-5)
    assert bool((together.measured_variance != 1).all())


SMALL = ("--size", "tiny", "--crop", 16, "--batch", 1)


@pytest.fixture(scope="module")
def pictures(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the autoencoder's first phase."""
    run = tmp_path_factory.mktemp("pictures") / "run"
    assert "step 1 of 1, complete" in train("autoencoder", clips, "--out", run, *SMALL, "--steps", 1)
    return run


def test_clips_follow_pictures_and_latents_keep_their_meaning(clips: Path, pictures: Path, tmp_path: Path) -> None:
    second = ("--phase", "clips", "--init", pictures, "--steps", 1, "--frames", 5)
    train("autoencoder", clips, "--out", tmp_path / "second", *SMALL, *second)
    begun, learned = read_network(pictures, "ema"), read_network(tmp_path / "second", "student")
    assert torch.equal(begun["measured_mean"], learned["measured_mean"])
    assert not torch.equal(begun["module.decoder.conv_in.weight"], learned["module.decoder.conv_in.weight"])
    with pytest.raises(RunError, match="seed is 0 there, 1 here"):
        train("autoencoder", clips, "--out", pictures, *SMALL, "--steps", 1, "--seed", 1)


def test_conditions_show_what_the_clips_show(tmp_path: Path) -> None:
    """A small model shows the middle of a portrait, which is all that a clip holds."""
    frame = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    about = json.dumps({"caption": "happy", "split": "train"})
    (tmp_path / "clips").mkdir()
    np.savez(tmp_path / "clips" / "a.npz", frames=frame[None], sound=np.zeros(16_000, np.int16), about=np.array(about))
    make = (sys.executable, CONDITIONS, tmp_path / "clips", "--out", tmp_path / "conditions")
    subprocess.run(list(map(str, make)), check=True, capture_output=True)
    stream = SIZES["mini"].stream
    (found,) = read_conditions(tmp_path / "conditions")
    shown = preprocess(found.image, ((stream.height, stream.width),), middle=stream.middle)
    pixels = ((shown.float().reshape(3, 96, 96) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels - frame).max() <= 1


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


def test_a_part_of_a_clip_keeps_its_picture_and_its_own_speech() -> None:
    """Latent frame k > 0 is heard in rows 4k-3 to 4k, frame 0 in row 0 alone."""
    latents = torch.arange(7.0).view(7, 1, 1, 1).expand(7, 16, 2, 2)
    clip = EncodedClip(latents, torch.arange(25.0).view(25, 1), "a person", "train")
    part = clip.part(2, 4)
    assert part.latents[:, 0, 0, 0].tolist() == [0, 3, 4, 5]
    assert part.audio[:, 0].tolist() == list(range(8, 21))
    whole = clip.part(0, 7)
    assert torch.equal(whole.latents, latents)
    assert torch.equal(whole.audio, clip.audio)
    assert len(clip.part(3, 4).audio) == 13


def test_a_run_goes_on_bitwise_and_the_folder_is_distilled(clips: Path, pictures: Path, tmp_path: Path) -> None:
    speech, data, taught, model = (tmp_path / name for name in ("speech", "data", "taught", "model"))
    tiny = ("--size", "tiny")
    train("speech", clips, "--out", speech, *tiny, "--batch", 1, "--steps", 1)
    encoders = (*tiny, "--autoencoder", pictures, "--speech", speech)
    for made in (3, 0):
        assert f"{made} clips encoded now" in train("encode", clips, "--out", data, *encoders, "--frames", 3)
    # Parts of an update are computed side by side; what comes of them is no matter of how many cores there are.
    cores = torch.get_num_threads()
    try:
        for folder, all_steps, threads in ((taught, (1, 2), 3), (tmp_path / "straight", (2,), 1)):
            torch.set_num_threads(threads)
            for steps in all_steps:
                train("teacher", data, "--out", folder, *tiny, "--batch", 3, "--steps", steps, "--decay", 4)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(cores)
    states = [read_network(one, "ema") for one in (taught, tmp_path / "straight")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    train("assemble", "--out", model, *encoders, "--teacher", taught, "--data", data, "--note", "a test")
    card = json.loads((model / "card.json").read_text("utf-8"))
    assert card["files"]["model.safetensors"]["stage"] == "teacher"
    for name, about in card["files"].items():
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == about["sha256"]

    choice = ModelOptions(size="tiny", checkpoints=model, device="cpu").choose()
    choice.require_files()
    models = choice.load()
    assert not models.random
    encoder = models.text()
    words = encoder.tokenizer("Happy, a PERSON named zebra")["input_ids"]
    assert encoder.tokenizer.convert_ids_to_tokens(words)[-3:] == ["named", "<unk>", "</s>"]
    frame = Clips(clips).train[0].frames[:9]
    pixels = torch.from_numpy(frame).permute(3, 0, 1, 2)[None].float().div(127.5).sub(1)
    first = EncodedClips(data).train["look-0"].latents
    assert torch.allclose(models.vae.encode_clip(pixels)[0].transpose(0, 1), first, atol=0.02)  # stored in 16 bits

    # The folder is teacher, critic and encoders of the recipe's own stages.
    people = tmp_path / "people"
    make = (sys.executable, CONDITIONS, clips, "--out", people, "--count", 1, "--speeches", 2, "--middle", 1)
    written = subprocess.run(list(map(str, make)), check=True, capture_output=True, text=True)
    assert written.stdout == f"2 conditions in {people}\n"
    found = read_conditions(people)
    assert [one.audio.stem for one in found] == ["look-0", "look-1"]
    assert np.array_equal(np.asarray(Image.open(found[1].image)), frame[0])
    assert len(read_audio(found[0].audio)) == 17_000
    own = (*tiny, "--checkpoints", model, "--device", "cpu")
    train("trajectories", people, "--out", tmp_path / "paths", *own, "--teacher", "file", "--steps", 4, "--frames", 3)
    learn = ("--data", tmp_path / "paths", *own, "--batch", 1, "--steps", 1)
    weights = model / "model.safetensors"
    train("ode", *learn, "--out", tmp_path / "ode", "--init", weights)
    critics = ("--teacher", weights, "--critic", weights, "--critic-warm-up", 0)
    train("dmd", *learn, "--out", tmp_path / "dmd", "--init", tmp_path / "ode", *critics)
    before = load_file(model / "autoencoder.safetensors")
    script = ("--script", CONDITIONS, "--stages", "teacher 6, ode 1, dmd 1", "--license", "Apache-2.0")
    train("assemble", "--out", model, *tiny, "--student", tmp_path / "dmd", *script)
    card = json.loads((model / "card.json").read_text("utf-8"))
    assert len(card["files"]) == 4 and card["files"]["model.safetensors"]["stages"] == "teacher 6, ode 1, dmd 1"
    for name, about in card["files"].items():
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == about["sha256"]
        with safe_open(model / name, "pt") as file:
            header = file.metadata()
        assert header["data_script"] == CONDITIONS.name and header["license"] == "Apache-2.0"
        assert header["data_script_sha256"] == hashlib.sha256(CONDITIONS.read_bytes()).hexdigest()
        assert header["code"].startswith("livetalk ") and header["seed"] == "0" and header["step"] == str(about["step"])
    kept = load_file(model / "autoencoder.safetensors")
    assert kept.keys() == before.keys() and all(torch.equal(kept[name], before[name]) for name in kept)

    # Every stage goes on from the folder alone.
    again = ("--autoencoder", model, "--speech", model, "--frames", 3)
    assert "3 clips encoded now" in train("encode", clips, "--out", tmp_path / "data again", *tiny, *again)
    other = EncodedClips(tmp_path / "data again").train["look-0"]
    assert torch.allclose(other.latents, first, atol=0.03)
    assert torch.allclose(other.audio, EncodedClips(data).train["look-0"].audio, atol=0.05)
    size = SIZES["tiny"]
    network = TrainingAutoencoder(size.vae, seed=1)
    fill(network, unpublished(size.vae, check_vae(model / "autoencoder.safetensors", size.vae)))
    with torch.no_grad():
        encoded = network.encode(pixels)[0].transpose(0, 1)
        shown = network.decode(encoded.transpose(0, 1)[None])
    assert torch.allclose(encoded, first, atol=0.02)
    assert torch.allclose(shown, models.vae.decode_float(encoded.transpose(0, 1)[None]), atol=1e-4)
    train("speech", clips, "--out", tmp_path / "speech again", *tiny, "--init", model, "--batch", 1, "--steps", 1)
    begun = Taught(size, seed=1)
    begin_as(begun, str(model), size)
    text = models.text().model.get_input_embeddings().weight.float()
    assert torch.allclose(begun.text.get_input_embeddings().weight, text, atol=0.02)
    assert "speech/model.safetensors" in json.loads((model / "card.json").read_text("utf-8"))["files"]
    choice.load_transformer()


@pytest.mark.soak
def test_a_compiled_run_learns_the_same(clips: Path, tmp_path: Path) -> None:
    losses = []
    for more in ((), ("--compile",)):
        run = tmp_path / f"run{len(more)}"
        train("autoencoder", clips, "--out", run, *SMALL, "--steps", 2, *more)
        losses.append([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_does_not_fit_is_named(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="The captions hold 5 words, the text encoder has room for 1"):
        tokenizer_of(["happy , a person named"], 4)
    with pytest.raises(RecordError, match="holds no encoded clips"):
        EncodedClips(tmp_path)
    with pytest.raises(OptionError, match="holds no model of size mini; `livetalk train assemble` makes"):
        ModelOptions(size="mini", checkpoints=tmp_path).choose()
    done = CliRunner().invoke(app, ["train", "assemble", "--out", str(tmp_path / "model"), "--license", "MIT"])
    assert done.exit_code == 2 and "name the script that made the clips" in " ".join(done.output.split())
    done = CliRunner().invoke(app, ["train", "assemble", "--out", str(tmp_path / "model")])
    assert done.exit_code == 2
    assert "name a run" in done.output
    done = CliRunner().invoke(app, ["train", "autoencoder", str(clips), "--out", str(tmp_path / "a"), "--crop", "20"])
    assert "no multiple of 16" in done.output
    done = CliRunner().invoke(app, ["train", "teacher", str(tmp_path), "--out", str(tmp_path / "a"), "--frames", "2"])
    assert "2 latent frames show nothing that moves" in " ".join(done.output.split())
