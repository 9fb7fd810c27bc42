"""`livetalk generate`, from files to a file that plays."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from emulated_graph import emulated_graphs
from known import known
from livetalk.base.errors import AudioError, OutputError, SessionError
from livetalk.cli import main as cli
from livetalk.render.config import SIZES, Size, StreamConfig, VAEConfig
from livetalk.render.model.graphs import CudaRecorder
from livetalk.render.pipeline import Models, load_models, random_models
from livetalk.render.vae import VAEStream
from livetalk.sound.files import read_audio
from livetalk.tools.generate import ClipReport, generate_clip, plan_clip, worth_compiling
from livetalk.video.mux import VideoWriter
from tiny_checkpoints import TinyCheckpoints
from typer.testing import CliRunner

Wav = Callable[..., bytes]
Voice = Callable[[float], np.ndarray]


@pytest.fixture(scope="module")
def light(tiny: Size) -> Size:
    """Tiny, with a decoder that has every part of its own once: decoding is most of the work."""
    return replace(tiny, vae=VAEConfig(dim=2, dim_mult=(1, 1, 1, 1), num_res_blocks=0))


@pytest.fixture(scope="module")
def models(light: Size) -> Models:
    return random_models(light)


@pytest.fixture
def speech_file(tmp_path: Path, wav: Wav, voice: Callable[[float], np.ndarray]) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(wav(voice(1.1)))
    return path


@pytest.fixture
def small(tiny: Size) -> StreamConfig:
    """32 x 32 pixels."""
    return replace(tiny.stream, latent_height=4, latent_width=4)


def made(models: Models, stream: StreamConfig, **options: Any) -> ClipReport:
    return generate_clip(models, stream, **{"seed": 0, "speech": "auto", **options})


def pictures(path: Path) -> np.ndarray:
    with av.open(str(path), "r") as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def comment(path: Path) -> dict[str, object]:
    with av.open(str(path), "r") as file:
        told: dict[str, object] = json.loads(file.metadata["comment"])
    return told


def test_the_command_makes_a_clip_that_plays(
    tmp_path: Path, portrait: Path, speech_file: Path, light: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "tiny", light)
    output = tmp_path / "out.mp4"
    arguments = ["--image", str(portrait), "--audio", str(speech_file), "--prompt", "a person speaks"]
    outcome = CliRunner().invoke(cli.app, ["generate", *arguments, "--output", str(output), "--size", "tiny"])
    assert outcome.exit_code == 0, outcome.output
    assert "random" in outcome.stdout
    assert "are random" in outcome.stderr
    assert pictures(output).shape == (18, 128, 128, 3)  # 1.1 s at 16 frames per second, begun frames included
    assert comment(output)["weights"] == "random (size tiny, weight seed 0)"
    assert "mean" in str(comment(output)["note"])
    with av.open(str(output), "r") as file:
        audio = file.streams.audio[0]
        assert float(known(audio.duration) * known(audio.time_base)) == pytest.approx(1.125, abs=0.03)
    given, written = read_audio(speech_file), read_audio(output)
    assert np.corrcoef(given[1000:15_000], written[1000:15_000])[0, 1] > 0.98


def test_files_in_the_published_formats(
    checkpoints: TinyCheckpoints, tmp_path: Path, portrait: Path, speech_file: Path
) -> None:
    models = load_models(checkpoints.files, checkpoints.size, dtype=torch.float32, device="cpu")
    report = made(
        models,
        replace(checkpoints.size.stream, latent_height=4, latent_width=4),
        image=portrait,
        audio=speech_file,
        prompt="a person speaks",
        output=tmp_path / "out.mp4",
        seconds=0.5,
    )
    assert report.frames == 8
    assert comment(report.path)["weights"] == str(checkpoints.files.dit)
    assert "note" not in comment(report.path)


def test_a_seed_reproduces_and_another_differs(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Callable[..., bytes],
    voice: Callable[[float], np.ndarray],
) -> None:
    clips = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        output = tmp_path / f"{name}.mp4"
        inputs = {"image": portrait, "audio": wav(voice(0.8)), "prompt": "", "output": output}
        made(models, small, seed=seed, **inputs)
        clips.append(pictures(output))
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])


@pytest.mark.parametrize("mode", ["whole", "windows"])
def test_frames_cover_the_audio(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Callable[..., bytes],
    voice: Callable[[float], np.ndarray],
    mode: str,
) -> None:
    seen = []
    report = made(
        models, small, image=portrait, audio=wav(voice(1.5)), prompt="x", output=tmp_path / "o.mp4", speech=mode,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert report.frames == 24 == len(pictures(report.path))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert comment(report.path)["speech"] == {"whole": "whole clip", "windows": "windows"}[mode]


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (6, 10), (4, 16)])
def test_a_clip_is_the_same_bytes_whatever_overlaps(
    models: Models, tiny: Size, tmp_path: Path, portrait: Path, wav: Wav, voice: Voice, rows: int, columns: int
) -> None:
    stream = replace(tiny.stream, latent_height=rows, latent_width=columns)
    inputs = {"image": portrait, "audio": wav(voice(0.9)), "prompt": "x"}

    def written(name: str, overlap: bool) -> bytes:
        path = tmp_path / name
        made(models, stream, overlap=overlap, output=path, **inputs)
        return path.read_bytes()

    alone = written("alone.mp4", overlap=True)
    assert written("step by step.mp4", overlap=False) == alone
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(written, ("one.mp4", "other.mp4"), (True, False))) == [alone, alone]


@pytest.mark.parametrize(
    ("samples", "rate", "channels", "frames"),
    [(1, 16_000, 1, 1), (4_000, 8_000, 1, 8), (24_000, 48_000, 2, 8)],
)
def test_audio_of_all_kinds(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Wav,
    samples: int,
    rate: int,
    channels: int,
    frames: int,
) -> None:
    sound = 0.3 * np.random.default_rng(0).standard_normal((samples, channels)).clip(-1, 1)
    content = wav(sound if channels > 1 else sound[:, 0], rate)
    report = made(models, small, image=portrait, audio=content, prompt="x", output=tmp_path / "o.mp4")
    assert report.frames == frames == len(pictures(report.path))


def test_an_unlimited_window(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Callable[..., bytes],
    voice: Callable[[float], np.ndarray],
) -> None:
    inputs = {"image": portrait, "audio": wav(voice(1.0)), "prompt": "x", "output": tmp_path / "o.mp4"}
    report = made(models, replace(small, window=-1, sink=0), **inputs)
    assert report.frames == 16
    assert comment(report.path)["window"] == 6


def test_silence_beyond_the_audio(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Callable[..., bytes],
    voice: Callable[[float], np.ndarray],
) -> None:
    inputs = {"image": portrait, "audio": wav(voice(0.3)), "prompt": "x", "output": tmp_path / "o.mp4"}
    report = made(models, small, seconds=1.0, **inputs)
    assert report.frames == 16
    assert np.abs(read_audio(report.path)[8_000:15_000]).max() < 0.01


def test_no_audio_is_refused_and_nothing_written(
    models: Models, small: StreamConfig, tmp_path: Path, portrait: Path, wav: Wav
) -> None:
    output = tmp_path / "none.mp4"
    with pytest.raises(AudioError, match="no samples"):
        made(models, small, image=portrait, audio=wav(np.zeros(0)), prompt="x", output=output)
    assert not output.exists()


def test_how_long_a_clip_becomes(tiny: Size) -> None:
    five = plan_clip(80_000, tiny.stream)
    assert (five.frames, five.latent_frames, five.blocks) == (80, 21, 7)  # the release's 5 s: 21 latent frames
    assert plan_clip(9_000, tiny.stream).blocks == 1
    assert plan_clip(9_001, tiny.stream).blocks == 2
    assert plan_clip(21_000, tiny.stream).blocks == 2
    assert plan_clip(21_001, tiny.stream).blocks == 3
    assert plan_clip(1, tiny.stream).frames == 1
    assert plan_clip(80_000, tiny.stream, seconds=8).latent_frames == 33


def test_absolute_positions_end_and_bounded_ones_do_not(tiny: Size) -> None:
    ten_minutes = 600 * 16_000
    with pytest.raises(SessionError, match=r"600\.00 s.*255\.56 s.*--position bounded"):
        plan_clip(ten_minutes, tiny.stream)
    plan = plan_clip(ten_minutes, replace(tiny.stream, position="bounded"))
    assert plan.frames == 9_600
    assert plan_clip(4089 * 1000, tiny.stream).blocks == 341
    with pytest.raises(SessionError):
        plan_clip(4089 * 1000 + 1, tiny.stream)


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["livetalk", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_ten_minutes_in_absolute_mode_are_refused_before_anything_is_loaded(
    tmp_path: Path, portrait: Path, wav: Wav, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = tmp_path / "long.wav"
    audio.write_bytes(wav(np.zeros(600 * 8_000), 8_000))
    output = tmp_path / "o.mp4"
    code = run_main(monkeypatch, "generate", "--image", str(portrait), "--audio", str(audio), "--output", str(output))
    assert code == 1
    error = capsys.readouterr().err
    assert error.startswith("livetalk: The clip would last 600.00 s")
    assert "Traceback" not in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--window", "2", "can't hold a block"),
        ("--sink", "14", "must leave a block"),
        ("--steps", "0", "greater than or equal to 1"),
        ("--seconds", "0", "greater than or equal to 0.0625"),
        ("--position", "sideways", "sideways"),
        ("--seconds", "inf", "less than or equal to 86400"),
        ("--seed", "-1", "greater than or equal to 0"),
        ("--seed", str(2**64), "less than or equal to"),
        ("--device", "gpu", "device 'gpu' is unknown"),
        ("--device", "meta", "device 'meta' is unknown"),
        ("--decode-device", "gpu", "device 'gpu' is unknown"),
        ("--text-device", "gpu", "device 'gpu' is unknown"),
        ("--prompt", "\udcff", "not valid UTF-8"),
        ("--attention", "fa9", "attention kernel 'fa9' is unknown"),
        ("--attention", "fa3", "can't run on cpu"),
        ("--size", "3B", "'--size': '3B' is not one of"),
    ],
)
def test_bad_options_are_explained(
    tmp_path: Path, portrait: Path, speech_file: Path, option: str, value: str, message: str
) -> None:
    arguments = ["generate", "--image", str(portrait), "--audio", str(speech_file), "--output", str(tmp_path / "o.mp4")]
    outcome = CliRunner().invoke(cli.app, [*arguments, "--size", "tiny", option, value])
    assert outcome.exit_code == 2
    assert message in " ".join(outcome.output.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there(tmp_path: Path, portrait: Path, speech_file: Path) -> None:
    test_bad_options_are_explained(tmp_path, portrait, speech_file, "--device", "cuda", "no CUDA device")


@pytest.mark.parametrize("name", ["", "folder", "portrait.png/out.mp4", "o" * 252 + ".mp4"])
def test_where_nothing_can_be_written(
    tmp_path: Path,
    portrait: Path,
    speech_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Found out before the models are loaded."""
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--image", str(portrait), "--audio", str(speech_file), "--output", str(tmp_path / name)]
    assert run_main(monkeypatch, "generate", *arguments, "--checkpoints", "nowhere") == 1
    error = capsys.readouterr().err
    assert "is a folder" in error or "can't be written" in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_input_is_not_overwritten(tmp_path: Path, portrait: Path, speech_file: Path) -> None:
    arguments = ["--image", str(portrait), "--audio", str(speech_file), "--output", f"{tmp_path}/./speech.wav"]
    outcome = CliRunner().invoke(cli.app, ["generate", *arguments, "--size", "tiny"])
    assert outcome.exit_code == 2
    assert "would be overwritten" in " ".join(outcome.output.split())


def test_an_unusable_picture_is_refused_before_anything_is_loaded(
    tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--image", str(speech_file), "--audio", str(speech_file), "--output", str(tmp_path / "o.mp4")]
    assert run_main(monkeypatch, "generate", *arguments, "--checkpoints", "nowhere") == 1
    assert "not an image" in capsys.readouterr().err


def test_a_disk_that_fills_up(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Callable[..., bytes],
    voice: Callable[[float], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoWriter, "_write_sound", full)
    output = tmp_path / "new" / "o.mp4"
    output.parent.mkdir()
    with pytest.raises(OutputError, match="could not be written to its end: No space left"):
        made(models, small, image=portrait, audio=wav(voice(0.1)), prompt="", output=output)
    assert list(output.parent.iterdir()) == []


def test_without_checkpoints_the_message_says_what_to_do(
    tmp_path: Path,
    portrait: Path,
    speech_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--image", str(portrait), "--audio", str(speech_file), "--output", str(tmp_path / "o.mp4")]
    code = run_main(monkeypatch, "generate", *arguments, "--checkpoints", str(tmp_path / "nowhere"))
    assert code == 1
    assert "livetalk download" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    script = "import sys; from livetalk.cli.main import app; print('torch' in sys.modules, 'av' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["False", "False"]


def test_a_clip_records_what_comes_again_and_nothing_while_a_block_is_decoded(
    models: Models,
    small: StreamConfig,
    tmp_path: Path,
    portrait: Path,
    wav: Wav,
    voice: Voice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On graphs emulated on the CPU: two pieces of work of a full window, none of a clip whose cache grows."""
    busy: list[str] = []
    decode = VAEStream.decode

    def decoding(self: VAEStream, latents: torch.Tensor) -> torch.Tensor:
        busy.append("decode")
        try:
            return decode(self, latents)
        finally:
            busy.remove("decode")

    def recording() -> None:
        assert busy == []

    inputs = {"image": portrait, "audio": wav(voice(3.4)), "prompt": ""}
    made(models, small, output=tmp_path / "plain.mp4", **inputs)
    monkeypatch.setattr(VAEStream, "decode", decoding)
    for name, stream, expected in (("window", small, 2), ("all", replace(small, window=-1), 0)):
        with monkeypatch.context() as patch, emulated_graphs(patch) as captures:
            captures.begun = recording
            output = tmp_path / f"{name}.mp4"
            graphs = CudaRecorder(torch.device("cpu"))
            report = made(models, replace(stream, window=6, sink=3) if stream is small else stream, output=output,
                          graphs=graphs, **inputs)  # fmt: skip
        assert len(captures.graphs) == expected and report.frames == 55


@pytest.mark.parametrize(
    ("seconds", "window", "worth"), [(5.0, 15, False), (29.0, 15, False), (31.0, 15, True), (31.0, -1, False)]
)
def test_what_a_clip_is_compiled_for(tiny: Size, seconds: float, window: int, worth: bool) -> None:
    plan = plan_clip(round(16_000 * seconds), tiny.stream)
    stream = replace(tiny.stream, window=window, sink=9 if window > 0 else 0).for_clip(plan.latent_frames)
    assert worth_compiling(stream, plan) is worth
