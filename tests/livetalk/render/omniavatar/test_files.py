import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import omniavatar_kit
import pytest
import recipe_kit
import torch
from livetalk.base.errors import CheckpointError
from livetalk.render.checkpoint import open_state
from livetalk.render.config import SIZES
from livetalk.render.model import reference_shapes
from livetalk.render.model.weights import shape_digest, to_published
from livetalk.render.omniavatar.files import (
    OMNIAVATAR,
    LoraConfig,
    MergedState,
    OmniAvatarFiles,
    base_shapes,
    load_omniavatar,
    open_omniavatar,
    read_config,
)
from recipe_kit import off
from safetensors.torch import load_file, save_file

TINY = SIZES["tiny"].dit


@pytest.fixture
def files(tmp_path: Path) -> OmniAvatarFiles:
    files = OmniAvatarFiles.under(tmp_path, "omniavatar-1.3b")
    omniavatar_kit.write(files, TINY)
    return files


def test_the_published_sizes_have_these_names_and_shapes() -> None:
    small, large = (reference_shapes(config) for config in OMNIAVATAR.values())
    assert (len(small), shape_digest(small)) == (857, "2bf9513c7a3e908015f11a800fc9b820")
    assert (len(large), shape_digest(large)) == (1137, "883a90b12576b9b8693a08cf690998dd")
    assert sum(map(math.prod, large.values())) == 14_293_426_336
    assert shape_digest(base_shapes(OMNIAVATAR["omniavatar-1.3b"])) == "9269f8db9040a9d860eaca435be61814"


@pytest.mark.parametrize("default", [".default", ""])
def test_merging_gives_what_peft_gives(tmp_path: Path, default: str) -> None:
    case, expected = recipe_kit.case("lora_merge"), recipe_kit.case("lora_merge_result")
    parts: dict[str, dict[str, Any]] = {"base": {}, "adapter": {}}
    for key, value in case.items():
        part, _, name = key.partition(".")
        parts[part][name.replace(".default", default)] = value.clone()
    save_file(parts["base"], tmp_path / "base.safetensors")
    torch.save(parts["adapter"], tmp_path / "adapter.pt")
    about = recipe_kit.manifest()["cases"]["lora_merge"]
    merged = MergedState(
        open_state(tmp_path / "base.safetensors"),
        open_state(tmp_path / "adapter.pt"),
        LoraConfig(about["rank"], about["alpha"], ()),
    )
    assert {f"merged.{name}" for name in merged} == set(expected)
    # In float32, and of values near 1: what remains is the order in which four products are summed.
    assert max(off(merged[name], expected[f"merged.{name}"]) for name in merged) < 1e-6


@pytest.mark.parametrize("model", OMNIAVATAR)
def test_original_files_make_the_network(tmp_path: Path, model: str) -> None:
    files = OmniAvatarFiles.under(tmp_path, model)
    assert len(files.base) == {"omniavatar-1.3b": 1, "omniavatar-14b": 6}[model]
    omniavatar_kit.write(files, TINY, default="" if len(files.base) == 1 else ".default")
    expected = omniavatar_kit.merged(files, TINY)
    found = to_published(TINY, load_omniavatar(files, TINY, dtype=torch.float32).state_dict())
    assert max(off(found[name], value) for name, value in expected.items()) < 1e-6


def test_a_fingerprint_tells_trainings_apart(tmp_path: Path, files: OmniAvatarFiles) -> None:
    one = open_omniavatar(files, TINY).fingerprint()
    assert one == open_omniavatar(files, TINY).fingerprint()
    torch.save(omniavatar_kit.adapter(TINY, seed=9), files.adapter)
    other = open_omniavatar(files, TINY).fingerprint()
    files.config.write_text(json.dumps(omniavatar_kit.settings(lora_alpha=4)))
    assert len({one, other, open_omniavatar(files, TINY).fingerprint()}) == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lora_rank": None}, "no lora_rank, and it is not guessed"),
        ({"lora_alpha": None}, "no lora_alpha, and it is not guessed"),
        ({"lora_alpha": "64"}, "no lora_alpha"),
        ({"lora_rank": 8}, r"\[4, 64\] instead of \[8, 64\]"),
        ({"train_architecture": "full"}, "trained as 'full'"),
        ({"model_config": {"in_dim": 36}}, "in_dim 36, not 33"),
        ({"lora_target_modules": "q,k,v,o,ffn.0"}, "for 6 that it does not"),
        (
            {"lora_target_modules": ["q", "k", "v", "o", "ffn.0", "ffn.2", "norm3"]},
            "for 6 layers that config.json lists",
        ),
    ],
)
def test_the_configuration_is_never_guessed(files: OmniAvatarFiles, changed: dict[str, Any], words: str) -> None:
    files.config.write_text(json.dumps(omniavatar_kit.settings(**changed)))
    with pytest.raises(CheckpointError, match=words):
        open_omniavatar(files, TINY)


def test_alpha_over_rank_is_the_scale(files: OmniAvatarFiles) -> None:
    assert read_config(files.config, TINY).scale == 0.5
    files.config.write_text("[]")
    with pytest.raises(CheckpointError, match="lora_rank"):
        read_config(files.config, TINY)
    files.config.unlink()
    with pytest.raises(CheckpointError, match="livetalk download"):
        read_config(files.config, TINY)


Q = "blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a.update({"extra": torch.zeros(2)}), "1 not expected: extra"),
        (lambda a: a.update({f"{Q}.lora_magnitude": torch.zeros(2)}), "belong nowhere"),
        (lambda a: a.update({f"{Q}.base_layer.weight": torch.zeros(64, 64)}), "belong nowhere"),
        (lambda a: a.update({f"{Q}.weight": torch.zeros(64, 64)}), "belong nowhere"),
        (lambda a: a.update({"blocks.77.self_attn.q.lora_A.weight": torch.zeros(4, 64)}), "belong nowhere"),
        (lambda a: a.update({f"{Q}.lora_A.weight": torch.zeros(4, 64)}), "which are one"),
        (lambda a: a.pop(f"{Q}.lora_B.default.weight"), "only one half"),
        (lambda a: (a.pop(f"{Q}.lora_A.default.weight"), a.pop(f"{Q}.lora_B.default.weight")), "no LoRA for 1 layers"),
        (lambda a: a.pop("audio_proj.proj.bias"), "1 missing: audio_proj.proj.bias"),
        (lambda a: a.pop("patch_embedding.weight"), r"patch_embedding.weight \[64, 16, 1, 2, 2\] instead of"),
        (lambda a: a.pop("patch_embedding.bias"), "can't stand in"),
        (lambda a: [a.pop(key) for key in list(a) if "lora" in key], "no LoRA weights"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    files: OmniAvatarFiles, spoil: Callable[[dict[str, Any]], Any], words: str
) -> None:
    state = torch.load(files.adapter, weights_only=True)
    spoil(state)
    torch.save(state, files.adapter)
    with pytest.raises(CheckpointError, match=words):
        open_omniavatar(files, TINY)


def test_an_adapter_that_holds_more_than_tensors_is_not_unpacked(files: OmniAvatarFiles, tmp_path: Path) -> None:
    torch.save({"x": Path("y")}, files.adapter)
    with pytest.raises(CheckpointError, match="more than tensors"):
        open_omniavatar(files, TINY)


def test_a_base_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    files = OmniAvatarFiles.under(tmp_path, "omniavatar-14b")
    omniavatar_kit.write(files, TINY)
    lost = load_file(files.base[2])
    name = next(iter(lost))
    twice = load_file(files.base[3])
    save_file({**twice, name: lost[name]}, files.base[3])
    with pytest.raises(CheckpointError, match="is in both"):
        open_omniavatar(files, TINY)
    save_file(twice, files.base[3])
    save_file({key: value for key, value in lost.items() if key != name}, files.base[2])
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        open_omniavatar(files, TINY)
    files.base[2].unlink()
    with pytest.raises(CheckpointError, match="can't be read"):
        open_omniavatar(files, TINY)
