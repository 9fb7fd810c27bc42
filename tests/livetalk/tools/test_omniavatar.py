"""`livetalk generate --model omniavatar-…`, from the original files to a file that plays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import omniavatar_kit
import pytest
import torch
from known import known
from livetalk.base.errors import CheckpointError, OptionError
from livetalk.cli import main as cli
from livetalk.render.config import Size
from livetalk.render.encoders.image import preprocess
from livetalk.render.model.weights import to_published
from livetalk.render.omniavatar.clip import ClipConditions, ClipSettings, encode_speech, render
from livetalk.render.omniavatar.files import OmniAvatarFiles
from livetalk.render.omniavatar.sampler import Guidance, GuidedFlow, denoise, image_condition
from livetalk.render.options import ModelChoice, ModelOptions
from livetalk.render.pipeline import Models, random_models
from livetalk.render.sampler import schedule
from livetalk.render.vae import to_uint8
from livetalk.sound.files import read_audio
from livetalk.tools.omniavatar import generate_omniavatar, picture_size
from recipe_kit import off
from tiny_checkpoints import TinyCheckpoints
from typer.testing import CliRunner

SMALL = ClipSettings((32, 32), steps=2, overlap=5, max_tokens=13, lead_silence=0.1)
"""Windows of 13 frames."""


@pytest.fixture(scope="module")
def models(tiny: Size) -> Models:
    return random_models(tiny)


@pytest.fixture
def speech_file(tmp_path: Path, wav: Callable[..., bytes], voice: Callable[[float], np.ndarray]) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(wav(voice(0.6)))
    return path


def options(tmp_path: Path, portrait: Path, speech_file: Path, *more: str) -> list[str]:
    given = ["--image", str(portrait), "--audio", str(speech_file), "--output", str(tmp_path / "clip.mp4")]
    return ["generate", *given, "--size", "tiny", *more]


def test_the_command_makes_a_clip_that_plays(tmp_path: Path, portrait: Path, speech_file: Path) -> None:
    small = ("--steps", "1", "--max-tokens", "208", "--overlap", "5", "--lead-silence", "0.1", "--seconds", "0.1")
    ran = CliRunner().invoke(
        cli.app, options(tmp_path, portrait, speech_file, "--model", "omniavatar-1.3b", "--audio-scale", "3", *small)
    )
    assert ran.exit_code == 0, ran.output
    assert "1 windows of 13 frames" in ran.output
    with av.open(str(tmp_path / "clip.mp4"), "r") as file:
        assert file.streams.video[0].average_rate == 25
        assert len(list(file.decode(video=0))) == 6  # 0.2 s of sound are 5 frames, the picture is one before
        about = json.loads(file.metadata["comment"])
    assert (about["text_scale"], about["audio_scale"], about["steps"]) == (4.5, 3.0, 1)
    assert about["weights"].startswith("omniavatar-1.3b, random")


@pytest.mark.parametrize("model", ["omniavatar-1.3b", "omniavatar-14b"])
def test_original_files_make_a_clip(
    checkpoints: TinyCheckpoints, portrait: Path, speech_file: Path, tmp_path: Path, tiny: Size, model: str
) -> None:
    choice = ModelChoice(tiny, checkpoints.root, "cpu", None, None, torch.float32, "auto", model)
    with pytest.raises(CheckpointError, match=f"livetalk download --model {model}"):
        choice.require_files()
    files = OmniAvatarFiles.under(checkpoints.root, model)
    omniavatar_kit.write(files, tiny.dit)
    shutil.rmtree(checkpoints.files.dit.parent)  # LiveTalk's own transformer is not needed
    choice.require_files()
    models = choice.load()
    assert not models.random and models.weights.startswith(model)
    expected = omniavatar_kit.merged(files, tiny.dit)
    found = to_published(tiny.dit, models.dit.state_dict())
    assert max(off(found[name], value) for name, value in expected.items()) < 1e-6
    if model == "omniavatar-1.3b":
        report = generate_omniavatar(
            models,
            replace(SMALL, steps=1),
            image=portrait,
            audio=speech_file,
            prompt="a person speaks",
            output=tmp_path / "clip.mp4",
            seed=1,
            seconds=0.1,
        )
        assert report.frames == 6


def conditions(models: Models, portrait: Path, speech_file: Path) -> tuple[ClipConditions, int]:
    samples = read_audio(speech_file)
    plan = SMALL.plan(len(samples))
    features = encode_speech(models.speech, SMALL.led_in(samples), plan)
    assert features.shape == (plan.rows, models.speech.channels)
    reference = models.vae.encode_image(preprocess(portrait, (SMALL.size,)))
    context, negative = models.encode_prompt("a person speaks"), models.encode_prompt(SMALL.negative_prompt)
    return ClipConditions(reference, context, negative, features), len(samples)


def test_windows_follow_on_one_another(models: Models, portrait: Path, speech_file: Path) -> None:
    given, samples = conditions(models, portrait, speech_file)
    plan = SMALL.plan(samples)
    assert (plan.window_frames, plan.output_frames) == (13, 19) and len(plan.windows) == 2
    frames = torch.cat(list(render(models.dit, models.vae, SMALL, plan, given, seed=3)))
    assert frames.shape == (19, 32, 32, 3)

    draw = torch.Generator().manual_seed(3)
    reference = given.reference[0].transpose(0, 1)

    def window(rows: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        image = image_condition(reference, 4, len(known))
        flow = GuidedFlow(models.dit, SMALL.guidance, given.context, given.negative, rows, image)
        noise = torch.randn((4, 16, 4, 4), generator=draw)
        return list(denoise(flow, noise, known, schedule(2)))[-1].transpose(0, 1)[None]

    zero = torch.zeros_like(given.features[:1])
    first_rows = torch.cat((zero, given.features[:12]))
    first = models.vae.decode_float(window(first_rows, reference))
    known = models.vae.encode_clip(first[:, :, -5:].clamp(-1, 1))[0].transpose(0, 1)
    second = models.vae.decode_float(window(torch.cat((first_rows[-5:], given.features[12:20])), known))
    expected = torch.cat((to_uint8(first), to_uint8(second)[5:]))[:19]
    assert int((frames.int() - expected.int()).abs().max()) <= 1


def test_the_sound_comes_one_frame_after_the_picture() -> None:
    settings = ClipSettings((512, 512))
    sound = settings.delayed(np.ones(100, np.float32), 48_000)
    assert int(np.flatnonzero(sound)[0]) == round(0.34 * 48_000)
    assert int(np.flatnonzero(settings.led_in(np.ones(100, np.float32)))[0]) == 4800


def test_speech_is_not_stretched_over_its_window(models: Models, voice: Callable[[float], np.ndarray]) -> None:
    samples = voice(0.6)
    short, long = (replace(SMALL, lead_silence=0.0, max_tokens=tokens).plan(len(samples)) for tokens in (15, 40))
    assert long.rows > 1.5 * short.rows
    there, here = (encode_speech(models.speech, samples, plan)[:15] for plan in (short, long))
    steps = models.speech.front_end(models.speech.normalised(samples))
    stretched = models.speech.hidden_states(models.speech.resampled(steps, long.rows))[:15]
    alike, less = (float(torch.nn.functional.cosine_similarity(there, one).mean()) for one in (here, stretched))
    print(alike, less)
    assert 1 - alike < 0.5 * (1 - less)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--text-scale", "6"], "--text-scale is for OmniAvatar; --model is livetalk"),
        (["--model", "omniavatar-14b", "--window", "9"], "--window is LiveTalk's; omniavatar-14b has no stream"),
        (["--model", "omniavatar-14b", "--float8"], "--float8 is LiveTalk's"),
        (["--model", "omniavatar-14b", "--speech", "windows"], "--speech is LiveTalk's"),
        (["--model", "omniavatar-14b", "--overlap", "4"], "use 1, 5, 9 or 13"),
        (["--model", "omniavatar-14b", "--weights", "x"], "--weights is a file of LiveTalk's transformer"),
        (["--model", "other"], "omniavatar-1.3b"),
    ],
)
def test_options_of_the_other_model_are_refused(
    tmp_path: Path, portrait: Path, speech_file: Path, more: list[str], words: str
) -> None:
    ran = CliRunner().invoke(cli.app, options(tmp_path, portrait, speech_file, *more))
    assert ran.exit_code == 2
    assert known(words) in known(ran.output)
    assert not (tmp_path / "clip.mp4").exists()


def test_the_size_follows_the_pictures_shape(portrait: Path) -> None:
    assert picture_size(portrait, ((400, 720), (720, 720), (720, 400))) == (720, 720)  # 150 x 110
    large = ModelOptions(device="cpu", random_weights=True).choose(model="omniavatar-14b")
    assert (large.size.dit.dim, large.size.dit.num_layers, large.model) == (5120, 40, "omniavatar-14b")
    with pytest.raises(OptionError):
        ModelOptions(device="cpu", weights=Path("x")).choose(model="omniavatar-14b")
    assert Guidance().text == Guidance().audio == 4.5
