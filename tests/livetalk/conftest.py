"""Golden fixtures' encoders, tiny checkpoints in the published formats, sound and pictures; servers on loopback."""

from __future__ import annotations

import io
import json
import math
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

# Torch and all that stands on it take seconds to import, and tests of sound, video and options need none of it: each
# fixture imports what it gives.
if TYPE_CHECKING:
    from live_kit import LiveServer
    from livetalk.render.config import Size
    from livetalk.render.encoders.speech import SpeechEncoder
    from livetalk.render.pipeline import Models
    from livetalk.render.vae import WanVAE
    from livetalk.tools.parity import Fixtures
    from tiny_checkpoints import TinyCheckpoints

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def golden() -> Fixtures:
    from livetalk.tools.parity import Fixtures

    return Fixtures(GOLDEN)


@pytest.fixture(scope="session")
def speech(golden: Fixtures) -> SpeechEncoder:
    return golden.speech


@pytest.fixture(scope="session")
def vae(golden: Fixtures) -> WanVAE:
    """As pipelines build it; `golden.vae` convolves as the published code did."""
    from livetalk.render.config import VAEConfig
    from livetalk.render.vae import WanVAE

    _, state = golden.weights("vae")
    return WanVAE.from_state(VAEConfig(dim=8), state)


@pytest.fixture(scope="session")
def tiny() -> Size:
    from livetalk.render.config import SIZES

    return SIZES["tiny"]


@pytest.fixture
def wav() -> Callable[..., bytes]:
    """A WAV file of the given samples, [n] or [n, channels] in [-1, 1]."""

    def make(samples: np.ndarray, rate: int = 16_000, width: int = 2) -> bytes:
        samples = np.atleast_1d(samples)
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        data = np.round(samples * 127 + 128).astype(np.uint8) if width == 1 else np.round(samples * 32767).astype("<i2")
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(rate)
            file.writeframes(data.tobytes())
        return stream.getvalue()

    return make


@pytest.fixture(scope="session")
def voice() -> Callable[[float], np.ndarray]:
    """Something like speech at 16 kHz: harmonics under a syllable envelope, with pauses; the same on every call."""

    def make(seconds: float) -> np.ndarray:
        t = np.arange(round(seconds * 16_000)) / 16_000
        pitch = 2 * np.pi * (120 * t + 6 * np.sin(2 * np.pi * 0.7 * t))
        tone = sum(np.sin(k * pitch) / k for k in range(1, 12))
        envelope = np.clip(np.sin(2 * np.pi * 3.1 * t) + 0.4 * np.sin(2 * np.pi * 0.31 * t), 0, None)
        noise = np.random.default_rng(1).standard_normal(len(t))
        sound: np.ndarray = 0.2 * envelope * tone + 0.02 * noise
        return sound.astype(np.float32)

    return make


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    rows, columns = np.mgrid[:150, :110]
    picture = np.stack([rows, columns, (rows + columns) // 2], axis=-1).astype(np.uint8)
    path = tmp_path / "portrait.png"
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture(scope="session")
def pristine_checkpoints(tmp_path_factory: pytest.TempPathFactory, tiny: Size) -> Path:
    import torch
    from livetalk.render import vae as vae_module
    from livetalk.render.checkpoint import CheckpointFiles
    from livetalk.render.encoders import text as text_module
    from livetalk.render.model import random_state, random_tensors
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("pristine")
    files = CheckpointFiles.under(root)
    for path in (files.dit, files.text_encoder, files.tokenizer / "x", files.speech / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_file(random_state(tiny.dit), files.dit)
    torch.save(random_tensors(vae_module.reference_shapes(tiny.vae)), files.vae)
    text = random_tensors(text_module.reference_shapes(tiny.text), dtype=torch.bfloat16)
    torch.save(text, files.text_encoder)
    write_tokenizer(files.tokenizer, tiny.text.vocab_size)
    write_speech(files.speech, tiny)
    return root


@pytest.fixture
def checkpoints(tmp_path: Path, pristine_checkpoints: Path, tiny: Size) -> TinyCheckpoints:
    """A folder as `livetalk download` would fill it, of size tiny, for a test to spoil."""
    from livetalk.render.checkpoint import CheckpointFiles
    from tiny_checkpoints import TinyCheckpoints

    root = tmp_path / "checkpoints"
    shutil.copytree(pristine_checkpoints, root)
    return TinyCheckpoints(root, CheckpointFiles.under(root), tiny)


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer in the files UMT5's has: words, an unknown token, `</s>` appended."""
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import Unigram

    words = ["a", "person", "speaks", "and", "smiles", "ein", "mensch", "spricht", "人", "говорит"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in words), ("▁", -9.0)]
    tokenizer = Tokenizer(Unigram([(piece, score) for piece, score in pieces], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    assert tokenizer.get_vocab_size() <= vocabulary
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_speech(folder: Path, size: Size) -> None:
    """A wav2vec2 folder as published: prefix, CTC head, mask embedding, and the old names of weight norm."""
    import torch
    from livetalk.render.encoders import speech as speech_module
    from livetalk.render.model import random_tensors
    from safetensors.torch import save_file

    config = {
        **size.speech.overrides,
        "hidden_size": size.speech.hidden_size,
        "num_hidden_layers": size.speech.num_hidden_layers,
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForCTC"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    state = {}
    for name, value in random_tensors(speech_module.reference_shapes(size.speech)).items():
        name = name.replace("conv.parametrizations.weight.original0", "conv.weight_g")
        name = name.replace("conv.parametrizations.weight.original1", "conv.weight_v")
        state[f"wav2vec2.{name}"] = value
    state["wav2vec2.masked_spec_embed"] = torch.zeros(size.speech.hidden_size)
    state["lm_head.weight"] = torch.zeros(32, size.speech.hidden_size)
    state["lm_head.bias"] = torch.zeros(32)
    save_file(state, folder / "model.safetensors")


@pytest.fixture
def sparse_safetensors() -> Callable[[Path, dict[str, tuple[int, ...]]], None]:
    """Writes a file of the given names and shapes without data: zeros that take no space on disk."""

    def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        header, offset = {}, 0
        for name, shape in shapes.items():
            end = offset + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header).encode()
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)

    return write


@pytest.fixture(scope="session")
def models() -> Models:
    from live_kit import tiny_models

    return tiny_models()


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[LiveServer]:
    """A server as it is by default, for three conversations at once."""
    from live_kit import LiveServer

    server = LiveServer(models, live={"capacity": 3})
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of the default server. What it opened is closed afterwards, so that every test finds room."""
    opened: list[str] = []

    def note(response: httpx.Response) -> None:
        server.check_documented(response)
        if response.status_code == 201:
            response.read()
            opened.append(response.json()["id"])

    with server.client(event_hooks={"response": [note]}) as client:
        yield client
        for name in opened:
            client.delete(f"/v1/conversations/{name}")


@pytest.fixture
def serve(models: Models) -> Iterator[Callable[..., LiveServer]]:
    """Start a server with settings of one's own; `LiveServer` says which. It is ready unless `ready=False`."""
    from live_kit import LiveServer

    started: list[LiveServer] = []

    def start(*, load: Callable[[], Models] | None = None, ready: bool = True, **settings: Any) -> LiveServer:
        server = LiveServer(load or models, **settings)
        started.append(server)
        return server.wait_until_ready() if ready else server

    yield start
    for server in started:
        server.stop()
