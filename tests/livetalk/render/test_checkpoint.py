"""The published files: what is loaded, and everything that is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from livetalk.base.errors import CheckpointError
from livetalk.render import checkpoint
from livetalk.render import vae as vae_module
from livetalk.render.checkpoint import KNOWN_MODELS, CheckpointFiles
from livetalk.render.config import DiTConfig, SpeechConfig, TextConfig, VAEConfig
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.model import random_state, reference_shapes
from livetalk.render.model.weights import shape_digest
from safetensors.torch import load_file, save_file
from tiny_checkpoints import TinyCheckpoints
from torch.utils._python_dispatch import TorchDispatchMode

Loader = Callable[[], Any]


@pytest.fixture
def loaders(checkpoints: TinyCheckpoints) -> dict[str, Loader]:
    files, size = checkpoints.files, checkpoints.size
    return {
        "dit": lambda: checkpoint.load_dit(files.dit, size.dit),
        "vae": lambda: checkpoint.load_vae(files.vae, size.vae),
        "text": lambda: checkpoint.load_text_encoder(files.text_encoder, files.tokenizer, size.text),
        "speech": lambda: checkpoint.load_speech_encoder(files.speech, size.speech),
    }


@pytest.fixture
def paths(checkpoints: TinyCheckpoints) -> dict[str, Path]:
    files = checkpoints.files
    return {
        "dit": files.dit,
        "vae": files.vae,
        "text": files.text_encoder,
        "speech": files.speech / "model.safetensors",
    }


def read(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def write(path: Path, state: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


KINDS = ("dit", "vae", "text", "speech")


# -- loaded ----------------------------------------------------------------------------------------------------------


def test_the_released_layout() -> None:
    files = CheckpointFiles.under(Path("p"))
    assert files.dit == Path("p/LiveTalk-1.3B-V0.1/model.safetensors")
    assert files.text_encoder == Path("p/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth")
    assert files.tokenizer == Path("p/Wan2.1-T2V-1.3B/google/umt5-xxl")
    assert files.vae == Path("p/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth")
    assert files.speech == Path("p/wav2vec2")
    assert len(files.missing()) == 5


def test_published_dimensions_have_the_published_digests() -> None:
    assert "LiveTalk-1.3B" in KNOWN_MODELS[shape_digest(reference_shapes(DiTConfig()))]
    assert "VAE" in KNOWN_MODELS[shape_digest(vae_module.reference_shapes(VAEConfig()))]
    assert "UMT5" in KNOWN_MODELS[shape_digest(text_module.reference_shapes(TextConfig()))]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_load_in_bfloat16(loaders: dict[str, Loader], kind: str) -> None:
    model = loaders[kind]()
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_stored_precision_is_taken(checkpoints: TinyCheckpoints, dtype: torch.dtype) -> None:
    files, size = checkpoints.files, checkpoints.size
    save_file({name: value.to(dtype) for name, value in load_file(files.dit).items()}, files.dit)
    dit = checkpoint.load_dit(files.dit, size.dit, dtype=torch.float32)
    assert dit.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in dit.parameters())


def test_values_arrive_where_they_belong(checkpoints: TinyCheckpoints) -> None:
    files, size = checkpoints.files, checkpoints.size
    state = torch.load(files.vae, weights_only=True)
    module: Any = checkpoint.load_vae(files.vae, size.vae, dtype=torch.float32).module
    assert torch.equal(
        module.decoder.up_blocks[1].resnets[0].conv_shortcut.weight, state["decoder.upsamples.4.shortcut.weight"]
    )
    assert torch.equal(module.post_quant_conv.bias, state["conv2.bias"])
    speech = load_file(files.speech / "model.safetensors")
    model = checkpoint.load_speech_encoder(files.speech, size.speech, dtype=torch.float32).model
    gain = model.encoder.pos_conv_embed.conv.parametrizations.weight.original0
    assert torch.equal(gain, speech["wav2vec2.encoder.pos_conv_embed.conv.weight_g"])


def test_weights_under_todays_names_and_in_a_pickle(checkpoints: TinyCheckpoints) -> None:
    folder = checkpoints.files.speech
    state = load_file(folder / "model.safetensors")
    renamed = {speech_module.current_name(name): value for name, value in state.items()}
    (folder / "model.safetensors").unlink()
    torch.save({name: value for name, value in renamed.items() if name}, folder / "pytorch_model.bin")
    assert checkpoint.load_speech_encoder(folder, checkpoints.size.speech).channels == 160


def test_a_pickle_whose_keys_are_no_names(checkpoints: TinyCheckpoints) -> None:
    torch.save({1: torch.zeros(1)}, checkpoints.files.vae)
    with pytest.raises(CheckpointError, match="not a plain table of tensors"):
        checkpoint.load_vae(checkpoints.files.vae)


def test_pickles_from_before_torch_1_6(checkpoints: TinyCheckpoints) -> None:
    files, size = checkpoints.files, checkpoints.size
    torch.save(torch.load(files.vae, weights_only=True), files.vae, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(files.vae)
    assert checkpoint.load_vae(files.vae, size.vae).dtype == torch.bfloat16


class Allocations(TorchDispatchMode):
    """Records what operations put out, by dtype."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and not out.is_meta:
            self.elements[out.dtype] = max(self.elements.get(out.dtype, 0), out.numel())
        return out


def test_the_text_encoder_makes_no_float32_detour(checkpoints: TinyCheckpoints) -> None:
    files, size = checkpoints.files, checkpoints.size
    with Allocations() as seen:
        encoder = checkpoint.load_text_encoder(files.text_encoder, files.tokenizer, size.text)
    assert encoder.dtype == torch.bfloat16
    assert seen.elements.get(torch.float32, 0) == 0


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated(loaders: dict[str, Loader], paths: dict[str, Path], kind: str, share: float) -> None:
    content = paths[kind].read_bytes()
    paths[kind].write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"cut short.*livetalk download"):
        loaders[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_tensor_is_named(loaders: dict[str, Loader], paths: dict[str, Path], kind: str) -> None:
    state = read(paths[kind])
    gone = next(name for name in state if "lm_head" not in name and "masked" not in name)
    del state[gone]
    write(paths[kind], state)
    with pytest.raises(CheckpointError, match="1 missing: ") as error:
        loaders[kind]()
    assert gone.removeprefix("wav2vec2.") in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_extra_tensor_is_named(loaders: dict[str, Loader], paths: dict[str, Path], kind: str) -> None:
    write(paths[kind], read(paths[kind]) | {"something.else": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"1 not expected: something\.else"):
        loaders[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_shape_is_named(loaders: dict[str, Loader], paths: dict[str, Path], kind: str) -> None:
    state = read(paths[kind])
    name = next(name for name, value in state.items() if value.ndim > 1 and "lm_head" not in name)
    state[name] = torch.zeros(7, 3)
    write(paths[kind], state)
    with pytest.raises(CheckpointError, match=r"1 of another shape: .*\[7, 3\] instead of \["):
        loaders[kind]()


def test_only_the_first_few_offenders_are_named(loaders: dict[str, Loader], paths: dict[str, Path]) -> None:
    state = read(paths["dit"])
    write(paths["dit"], {name: value for name, value in state.items() if not name.startswith("blocks.3.")})
    with pytest.raises(CheckpointError, match=r"27 missing: .*, …") as error:
        loaders["dit"]()
    assert str(error.value).count("blocks.3.") == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file(loaders: dict[str, Loader], paths: dict[str, Path], kind: str) -> None:
    paths[kind].unlink()
    with pytest.raises(CheckpointError, match=r"can't be read.*livetalk download"):
        loaders[kind]()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (vae_module.reference_shapes(VAEConfig()), "the Wan 2.1 VAE"),
        (reference_shapes(DiTConfig()), "the LiveTalk-1.3B transformer"),
        (text_module.reference_shapes(TextConfig()), "the UMT5-XXL text encoder"),
    ],
)
def test_another_model_is_called_by_its_name(
    tmp_path: Path,
    sparse_safetensors: Callable[[Path, dict[str, tuple[int, ...]]], None],
    config: dict[str, Any],
    name: str,
) -> None:
    path = tmp_path / "model.safetensors"
    sparse_safetensors(path, config)
    load = checkpoint.load_vae if "VAE" not in name else checkpoint.load_dit
    with pytest.raises(CheckpointError, match=f"It is {name}"):
        load(path)


def test_the_plain_wan_transformer_is_told_from_livetalks(
    tmp_path: Path, sparse_safetensors: Callable[[Path, dict[str, tuple[int, ...]]], None]
) -> None:
    shapes = {name: shape for name, shape in reference_shapes(DiTConfig()).items() if not name.startswith("audio")}
    shapes["patch_embedding.weight"] = (1536, 16, 1, 2, 2)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    sparse_safetensors(path, shapes)
    with pytest.raises(CheckpointError, match=r"It is the plain Wan 2\.1 T2V 1\.3B transformer"):
        checkpoint.load_dit(path)


def test_files_in_each_others_place(checkpoints: TinyCheckpoints) -> None:
    files, size = checkpoints.files, checkpoints.size
    with pytest.raises(CheckpointError, match="is not a LiveTalk transformer"):
        checkpoint.load_dit(files.vae, size.dit)
    with pytest.raises(CheckpointError, match=r"is not the Wan 2\.1 VAE"):
        checkpoint.load_vae(files.dit, size.vae)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("owned"),))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_would_run_code(
    checkpoints: TinyCheckpoints, tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, checkpoints.files.vae, _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match="more than tensors"):
        checkpoint.load_vae(checkpoints.files.vae, checkpoints.size.vae)
    assert not (tmp_path / "owned").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle(checkpoints: TinyCheckpoints) -> None:
    checkpoints.files.vae.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(CheckpointError):
        checkpoint.load_vae(checkpoints.files.vae, checkpoints.size.vae)


@pytest.mark.parametrize("wrapped", [{"state_dict": {"a": torch.zeros(1)}}, {"step": 3}, [torch.zeros(1)]])
def test_a_training_checkpoint(checkpoints: TinyCheckpoints, wrapped: object) -> None:
    torch.save(wrapped, checkpoints.files.vae)
    with pytest.raises(CheckpointError, match="not a plain table of tensors"):
        checkpoint.load_vae(checkpoints.files.vae, checkpoints.size.vae)


def test_a_git_lfs_pointer(checkpoints: TinyCheckpoints) -> None:
    checkpoints.files.dit.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        checkpoint.load_dit(checkpoints.files.dit, checkpoints.size.dit)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>404</html>", b"\xff" * 64, b"{}"])
def test_something_else_under_the_name(checkpoints: TinyCheckpoints, content: bytes) -> None:
    checkpoints.files.dit.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoint.load_dit(checkpoints.files.dit, checkpoints.size.dit)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("kind", ["dit", "vae"])
def test_quantised_files(loaders: dict[str, Loader], paths: dict[str, Path], kind: str, dtype: torch.dtype) -> None:
    state = read(paths[kind])
    name = next(iter(state))
    write(paths[kind], state | {name: state[name].to(dtype)})
    with pytest.raises(CheckpointError, match="quantised files are not supported") as error:
        loaders[kind]()
    assert name in str(error.value)


def test_a_prefix_is_pointed_out(checkpoints: TinyCheckpoints) -> None:
    state = load_file(checkpoints.files.dit)
    save_file({f"model.{name}": value for name, value in state.items()}, checkpoints.files.dit)
    with pytest.raises(CheckpointError, match=r"carry the prefix 'model\.'"):
        checkpoint.load_dit(checkpoints.files.dit, checkpoints.size.dit)


def test_unmerged_lora_is_pointed_out(checkpoints: TinyCheckpoints) -> None:
    state = random_state(checkpoints.size.dit)
    state["blocks.0.self_attn.q.lora_A.default.weight"] = torch.zeros(4, 64)
    save_file(state, checkpoints.files.dit)
    with pytest.raises(CheckpointError, match="have not been merged"):
        checkpoint.load_dit(checkpoints.files.dit, checkpoints.size.dit)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be read"):
        checkpoint.load_dit(tmp_path)


# -- the folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"hidden_size": 32}', '{"hidden_size": "x", "num_hidden_layers": 1}']
)
def test_a_broken_speech_configuration(checkpoints: TinyCheckpoints, content: str) -> None:
    (checkpoints.files.speech / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="does not describe a wav2vec2 model"):
        checkpoint.load_speech_encoder(checkpoints.files.speech)


def test_a_speech_configuration_that_does_not_fit(checkpoints: TinyCheckpoints) -> None:
    path = checkpoints.files.speech / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 5}))
    with pytest.raises(CheckpointError, match=r"missing: encoder\.layers\.3\."):
        checkpoint.load_speech_encoder(checkpoints.files.speech, SpeechConfig(32, 5))


def test_a_speech_encoder_of_another_size(checkpoints: TinyCheckpoints) -> None:
    with pytest.raises(CheckpointError, match="3 layers of 32 channels, the transformer hears one of 12 layers of 768"):
        checkpoint.load_speech_encoder(checkpoints.files.speech)


def test_another_kind_of_speech_encoder(checkpoints: TinyCheckpoints) -> None:
    folder = checkpoints.files.speech
    config = json.loads((folder / "config.json").read_text()) | {"do_stable_layer_norm": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="wav2vec2-base's kind"):
        checkpoint.load_speech_encoder(folder, checkpoints.size.speech)
    assert SpeechConfig.from_manifest(config).hidden_size == 32


def test_a_missing_tokenizer(checkpoints: TinyCheckpoints) -> None:
    files, size = checkpoints.files, checkpoints.size
    for file in files.tokenizer.iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match="no readable tokenizer"):
        checkpoint.load_text_encoder(files.text_encoder, files.tokenizer, size.text)
    files.tokenizer.rmdir()
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load_text_encoder(files.text_encoder, files.tokenizer, size.text)


def test_a_tokenizer_of_another_model(checkpoints: TinyCheckpoints) -> None:
    with pytest.raises(CheckpointError, match="do not belong together"):
        checkpoint.load_tokenizer(checkpoints.files.tokenizer, TextConfig(vocab_size=5))
