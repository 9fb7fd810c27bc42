"""`livetalk parity` on a folder with every kind of case, none of whose dimensions are those of the golden fixtures.

There is no published result of these dimensions, so the expectations are this implementation's own: they show that
every kind of case is found, run and compared at any size, that a true one passes, and that a wrong one fails.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from livetalk.render import vae as vae_module
from livetalk.render.config import DiTConfig, SpeechConfig, TextConfig, VAEConfig
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.model import random_state, random_tensors
from livetalk.tools import parity, parity_cases
from safetensors.torch import save_file
from torch import Tensor

DIT = {
    "dim": 72, "in_dim": 33, "ffn_dim": 100, "out_dim": 16, "text_dim": 20, "freq_dim": 16, "num_heads": 3,
    "num_layers": 9, "audio_hidden_size": 6, "audio_feat_dim": 96, "patch_size": [1, 2, 2], "eps": 1e-5,
}  # fmt: skip
VAE = {"dim": 6, "z_dim": 16, "dim_mult": [1, 3, 2, 4], "num_res_blocks": 1, "temporal_downsample": [False, True, True]}
T5 = {"vocab_size": 61, "dim": 20, "dim_attn": 24, "dim_ffn": 36, "num_heads": 3, "num_layers": 3, "num_buckets": 16}
WAV2VEC2 = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40, "conv_dim": [12] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 3, "layer_norm_eps": 1e-4, "vocab_size": 32,
}  # fmt: skip
INJECTIONS, N, HIDDEN = 3, 6, "audio_hidden_size"
LATENT = (4, 6)


class Builder:
    """Gathers cases: parameters, inputs, and names of outputs whose values come later."""

    def __init__(self) -> None:
        self.draw = torch.Generator().manual_seed(11)
        self.parameters: dict[str, dict[str, Any]] = {}
        self.tensors: dict[str, dict[str, Tensor]] = {}

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draw)

    def add(self, name: str, inputs: dict[str, Tensor], outputs: list[str], **parameters: Any) -> None:
        self.parameters[name] = parameters
        self.tensors[name] = {**inputs, **{output: torch.zeros(0) for output in outputs}}

    def write(self, folder: Path) -> None:
        weights = {
            "dit": (DIT, random_state(DiTConfig.from_manifest(DIT), seed=3)),
            "vae": (VAE, random_tensors(vae_module.reference_shapes(VAEConfig.from_manifest(VAE)))),
            "t5": (T5, random_tensors(text_module.reference_shapes(TextConfig.from_manifest(T5)))),
            "wav2vec2": (
                WAV2VEC2,
                random_tensors(speech_module.reference_shapes(SpeechConfig.from_manifest(WAV2VEC2))),
            ),
        }
        manifest: dict[str, Any] = {"weights": {}, "cases": {}}
        for kind, (config, state) in weights.items():
            save_file(state, folder / f"weights_{kind}.safetensors")
            manifest["weights"][kind] = {"file": f"weights_{kind}.safetensors", "config": config}
        for name, tensors in self.tensors.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
            listed = {
                key: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
                for key, value in tensors.items()
            }
            manifest["cases"][name] = {"file": f"{name}.safetensors", "tensors": listed, **self.parameters[name]}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def cases() -> Builder:
    """One case of every kind, two of generation."""
    make = Builder()
    dim, hidden = DIT["dim"], DIT["audio_hidden_size"]
    assert isinstance(dim, int) and isinstance(hidden, int)

    def condition(frames: int, *, packed: bool = True) -> tuple[dict[str, Tensor], list[str]]:
        features = {"audio_features": make.normal(1, 4 * frames - 3, 96)}
        return features, ["audio_packed"] if packed else []

    features, packed = condition(6)
    calls = [{"start_frame": 0}, {"start_frame": 0}, {"start_frame": 3}]
    inputs = {"y": make.normal(1, 17, 6, *LATENT), "context": make.normal(1, 7, 20), **features}
    inputs["audio_cond"] = make.normal(INJECTIONS, 6, 1, 1, dim)
    for call in range(3):
        inputs |= {f"call{call}.x": make.normal(1, 16, 3, *LATENT), f"call{call}.timestep": torch.full((1, 3), 300.0)}
    flows = [f"call{call}.flow" for call in range(3)]
    outputs = [*packed, *flows, "call1.k.8", "call2.v.4", "cross_k.0", "cross_v.8"]
    activations = ("patch_embedding", "blocks.7.cross_attn", "blocks.8", "head", "time_projection")
    outputs += [f"call{index % 3}.act.{name}" for index, name in enumerate(activations)]
    window = {"local_attn_size": 10, "sink_size": 4, "latent_hw": list(LATENT), "frame_seq_length": N}
    make.add("forwards", inputs, outputs, calls=calls, **window)
    make.add("forwards_over_all", inputs, outputs, calls=calls, **window | {"local_attn_size": -1, "sink_size": 0})
    exact = {f"call{call}.flow_fp32_same_inputs": make.normal(1, 16, 3, *LATENT) for call in (0, 2)}
    make.add("forwards_bf16", exact, ["call0.flow_bf16", "call2.flow_bf16"])
    features, _ = condition(9)
    clip = {"x": make.normal(1, 16, 9, *LATENT), "timestep": torch.full((1, 9), 500.0), **features}
    clip |= {"y": make.normal(1, 17, 9, *LATENT), "context": make.normal(1, 7, 20)}
    make.add("mask_of_training", clip, ["flow"], local_attn_size=9, num_frame_per_block=3)
    for name, blocks, steps, size, sink in (("odd_window", 7, 3, 11, 2), ("no_window", 4, 2, -1, 0)):
        features, packed = condition(3 * blocks)
        inputs = {
            "noise": make.normal(1, 3 * blocks, 16, *LATENT),
            "ref_latent": make.normal(1, 16, 1, *LATENT),
            "context": make.normal(1, 7, 20),
            "audio_cond": make.normal(INJECTIONS, 3 * blocks, 1, 1, dim),
            "timesteps": torch.tensor([1000.0, 800.0, 400.0][:steps]),
            "step_noise": make.normal(blocks, steps - 1, 3, 16, *LATENT),
            **features,
        }
        outputs = [*packed, "step_in", "step_x0", "latents", "clean_flow_last", "index_trace",
                   f"kv_after_block{blocks - 1}.k.8", "kv_mid_block3_step1.v.0"]  # fmt: skip
        settings = {"latent_hw": list(LATENT), "frame_seq_length": N, "blocks": blocks, "num_frame_per_block": 3}
        make.add(name, inputs, outputs, local_attn_size=size, sink_size=sink, **settings)
    waves = {"a.wave": make.normal(24_000), "b.wave": make.normal(9_000)}
    stages = ("input_values", "features", "cnn", "cnn_interp", "hidden.2", "last_hidden", "audio_packed", "audio_cond")
    speech = {"a": {"num_latent_frames": 6, "used_samples": 20_000}, "b": {"num_latent_frames": 6}}
    make.add("hearing", waves, [f"{clip}.{stage}" for clip in speech for stage in stages], clips=speech)
    pictures = {"image": make.normal(1, 3, 1, 32, 48), "video": make.normal(1, 3, 5, 32, 48)}
    outputs = ["image_latent", "video_latent", "decoded_unclamped", "decoded_clamped_first2", "cache_after_2.3"]
    make.add("pictures", {**pictures, "z": make.normal(1, 5, 16, *LATENT)}, outputs)
    make.add("one_latent", {"z": make.normal(1, 1, 16, *LATENT)}, ["decoded_unclamped"])
    mask = (torch.arange(12) < torch.tensor([[12], [5]])).long()
    ids = torch.randint(61, (2, 12), generator=make.draw)
    make.add("words", {"ids": ids, "mask": mask}, ["raw", "prompt_embeds"])
    bytes_ = torch.randint(256, (45, 31, 3), generator=make.draw, dtype=torch.uint8)
    make.add("crop", {"0.image_u8": bytes_}, ["0.out"], items=[{"i": 0, "target_hw": [24, 40]}])
    inputs = {"sinusoid64.t": torch.tensor([0.0, 5.5, 999.0]), "rope44.pos": torch.tensor([0, 1, 17, 200])}
    inputs["t5.rel_pos"] = torch.arange(-90, 91)
    outputs = ["infer3.sigmas", "infer6.timesteps", "train1000.weights", "sinusoid64.emb", "t5.bucket16"]
    outputs += ["rope44.f_cos", "rope44.w_sin"]
    make.add("numbers", inputs, outputs)
    inputs = {
        "image_u8": bytes_.transpose(0, 1), "wave": make.normal(40_000), "ids": ids[1:], "mask": mask[1:],
        "noise": make.normal(1, 9, 16, *LATENT), "step_noise": make.normal(3, 2, 3, 16, *LATENT),
        "video_frame_index": torch.tensor([0, 7, 32]),
    }  # fmt: skip
    outputs = ["img_lat", "audio_cond", "latents", "video_frames", "video_u8"]
    settings = {"size_list": [[64, 32], [32, 48]], "num_latent_frames": 9, "timesteps": [1000.0, 800.0, 400.0]}
    make.add("all_together", inputs, outputs, **settings, **{**window, "local_attn_size": 6, "sink_size": 0})
    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Builder]:
    """The cases with what this implementation makes of them as expectations."""
    make, folder = cases(), tmp_path_factory.mktemp("fixtures")
    seen: dict[str, dict[str, Tensor]] = defaultdict(dict)

    def note(case: parity.Case, name: str, actual: Tensor, limit: float | None = None) -> None:
        expected = case.tensor(name)
        seen[case.name][name] = actual.reshape(expected.shape) if expected.numel() else actual.clone()
        case.measure(name, 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity.Case, "expect", note)
        patch.setattr(parity_cases, "_uint8", note)
        for _ in range(2):  # the audio condition is an expectation and goes into the others
            make.write(folder)
            for result in parity.run(folder):
                assert result.problem is None, result
                assert result.not_compared == (), result
            for name, outputs in seen.items():
                make.tensors[name] |= outputs
    make.write(folder)
    return folder, make


def test_every_kind_passes_in_other_dimensions(folder: tuple[Path, Builder]) -> None:
    results = parity.run(folder[0])
    assert [result.name for result in results] == list(folder[1].parameters)
    assert {result.name: parity.as_text([result]) for result in results if not result.passed} == {}
    kinds = {parity_cases.runner_of(parity.Case(r.name, {}, folder[1].tensors[r.name], None)) for r in results}  # type: ignore[arg-type]
    assert len(kinds) == 10 and None not in kinds


def test_every_expectation_counts(folder: tuple[Path, Builder], tmp_path: Path) -> None:
    """One value of each output is made wrong; each is named. (The audio condition is an input as well: left alone.)"""
    make, right = cases(), folder[1].tensors
    outputs = {name: [key for key, value in case.items() if not value.numel()] for name, case in make.tensors.items()}
    outputs["forwards_bf16"] += [key for key in right["forwards_bf16"] if key.endswith("same_inputs")]
    outputs["all_together"].remove("audio_cond")
    make.tensors = {name: dict(case) for name, case in right.items()}
    for name, keys in outputs.items():
        for key in keys:
            wrong = right[name][key].clone(memory_format=torch.contiguous_format)
            wrong.view(-1)[wrong.numel() // 2] += 100
            make.tensors[name][key] = wrong
    make.write(tmp_path)
    for result in parity.run(tmp_path):
        failed = [m.name for m in result.measurements if not m.passed]
        for key in outputs[result.name]:
            assert any(found.startswith(key) for found in failed), (result.name, key)
