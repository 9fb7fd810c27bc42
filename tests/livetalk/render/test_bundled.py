"""The small model that comes with livetalk: what its card says of it is so, and it talks."""

from __future__ import annotations

import hashlib
import json
import re
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from livetalk.base.rates import AUDIO_RATE
from livetalk.cli.main import app
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import SpeechStream
from livetalk.render.options import BUNDLED, BUNDLED_NOTE, CHECKPOINTS_VARIABLE, ModelOptions
from livetalk.render.performer import Performer, SeededNoise
from livetalk.render.pipeline import Models
from livetalk.training.clips import moving
from safetensors import safe_open
from typer.testing import CliRunner

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden_mini.npz"
"""Speech, int16 at 16 kHz, and what was made of it, uint8 [T,H,W,3]: see ``main``."""
PORTRAIT = ROOT / "scenarios" / "portraits" / "maya.png"
CAPTION = "happy, a person"
MAX_BYTES = 16 * 2**20
CLIP_S = 2
POOL = 4
"""Pixels along the side of the cells whose means are kept: 24 by 24 of them."""
FILES = {"autoencoder.safetensors", "model.safetensors", "speech/model.safetensors", "text_encoder.safetensors"}


@pytest.fixture(scope="module")
def models() -> Models:
    choice = ModelOptions(size="mini", device="cpu").choose(or_bundled=True)
    assert choice.bundled
    choice.require_files()
    return choice.load()


def rendered(models: Models, sound: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Frames as a server makes them."""
    choice = ModelOptions(size="mini", device="cpu").choose(or_bundled=True)
    stream = choice.size.stream
    performer = Performer(models.dit, models.vae.decoder_stream(), stream)
    picture = preprocess(PORTRAIT, ((stream.height, stream.width),), middle=stream.middle)
    performer.start(
        models.encode_prompt(CAPTION), models.vae.encode_image(picture), SeededNoise(0, torch.device("cpu"))
    )
    samples = sound.astype(np.float32) / 32768
    return np.concatenate([b.frames.numpy() for b in performer.perform(iter([samples]), SpeechStream(models.speech))])


def pooled(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    count, height, width, _ = frames.shape
    cells = frames.reshape(count, height // POOL, POOL, width // POOL, POOL, 3).astype(np.float64)
    means: npt.NDArray[np.uint8] = cells.mean(axis=(2, 4)).round().astype(np.uint8)
    return means


def test_the_card_says_what_each_file_is_and_where_it_comes_from() -> None:
    card = json.loads((BUNDLED / "card.json").read_text("utf-8"))
    assert card["size"] == "mini" and set(card["files"]) == FILES
    script = ROOT / "examples" / "mini" / "draw.py"
    for name, about in card["files"].items():
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == about["sha256"]
        with safe_open(BUNDLED / name, "pt") as file:
            header: dict[str, Any] = file.metadata()
        assert header == {key: str(value) for key, value in about.items() if key != "sha256"}
        assert header["license"] == "Apache-2.0" and header["seed"].isdigit() and int(header["step"]) > 0
        assert header["stage"] and header["code"].startswith("livetalk ")
        assert header["data_script"] == script.name and re.fullmatch("[0-9a-f]{64}", header["data_script_sha256"])
    assert "teacher" in card["files"]["model.safetensors"]["stages"]
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= MAX_BYTES


def test_the_model_card_names_the_digests() -> None:
    said = (BUNDLED / "README.md").read_text("utf-8")
    for name, about in json.loads((BUNDLED / "card.json").read_text("utf-8"))["files"].items():
        assert f"| `{name}` | `{about['sha256'][:16]}` |" in said
    assert "Apache-2.0" in said and "docs/training.md" in said


def test_a_fixed_clip_is_the_same_on_every_processor(models: Models) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        sound, wanted = golden["sound"], golden["frames"].astype(np.int16)
    made = pooled(rendered(models, sound)).astype(np.int16)
    assert made.shape == wanted.shape
    difference = np.abs(made - wanted)
    # Rounding alone is far below: another order of sums changed no cell by more than 1 of 255.
    assert difference.mean() < 0.5 and difference.max() <= 12


def test_it_talks_when_there_is_something_to_say(models: Models) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        sound = golden["sound"]
    spoken, silent = rendered(models, sound), rendered(models, np.zeros_like(sound))
    mouths = []
    for frames in (spoken, silent):
        change = moving(frames, 8)
        mouths.append(float(np.sort(change[len(change) // 2 :].ravel())[-3:].mean()))
    assert mouths[0] > 1.5 * mouths[1], "the mouth moves with the words"
    assert models.weights.startswith("mini, bundled with livetalk, sha256 ") and not models.random
    encoder = models.text()
    words = encoder.tokenizer("Happy, an OLD woman in a zeppelin")["input_ids"]
    told = encoder.tokenizer.convert_ids_to_tokens(words)
    assert (told[0], told[-2:]) == ("happy", ["<unk>", "</s>"]), "its own vocabulary, in any case of letters"


def test_a_clip_without_checkpoints_is_made_by_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden, wave.open(str(tmp_path / "speech.wav"), "wb") as speech:
        speech.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        speech.writeframes(golden["sound"][: AUDIO_RATE // 2].tobytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CHECKPOINTS_VARIABLE, raising=False)
    done = CliRunner().invoke(
        app, ["generate", "--image", str(PORTRAIT), "--audio", "speech.wav", "--output", "clip.mp4"]
    )
    assert done.exit_code == 0, done.output
    assert " ".join(BUNDLED_NOTE.split()) in " ".join(done.output.split())
    with av.open("clip.mp4") as clip:
        assert (clip.streams.video[0].width, clip.streams.video[0].height) == (96, 96)


def main() -> None:
    """Make the golden clip anew: for another model, never for another processor."""
    import soxr
    from livetalk.thinkers import espeak

    spoken = espeak.speak("Good morning! We have five blue boats and a piano.", espeak.Voice.parse("en-us+f3"))
    sound = soxr.resample(spoken.samples, espeak.RATE, AUDIO_RATE)[: CLIP_S * AUDIO_RATE]
    sixteen = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    choice = ModelOptions(size="mini", device="cpu").choose(or_bundled=True)
    np.savez_compressed(GOLDEN, sound=sixteen, frames=pooled(rendered(choice.load(), sixteen)))


if __name__ == "__main__":
    main()
