"""Q-Align: its network against transformers' with equal weights, and a small one from its published files."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from sentencepiece import SentencePieceTrainer
from single_kit import formula, moving, small_owl, write_video
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from interbench.media.pool import MediaPool
from interbench.single import qalign
from interbench.single.base import MetricError
from interbench.single.clips import Found, look_at
from interbench.single.metrics.qalign import Ase, Iqa
from interbench.single.nets.loading import load
from interbench.single.nets.mplug_owl2 import Owl, OwlConfig


@pytest.fixture(scope="module")
def owl() -> Owl:
    return load(Owl(small_owl()), formula(Owl(small_owl())), Path("formula"))


def test_the_language_model_is_llama_where_both_sets_are_one(owl: Owl) -> None:
    """With the same keys, values and norms for text and pictures the decoder is transformers' LLaMA."""
    config = owl.config
    state = owl.state_dict()
    theirs = {}
    for name, value in state.items():
        if name.startswith(("model.vision_model", "model.visual_abstractor")) or ".multiway.1." in name:
            continue
        theirs[name.replace(".multiway.0", "")] = value
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers, num_attention_heads=config.num_attention_heads,
            rms_norm_eps=config.rms_norm_eps,
        )
    ).eval()  # fmt: skip
    llama.load_state_dict(theirs)
    tokens = [1, 5, 17, 3, 80, 2, 44]
    with torch.inference_mode():
        ours = owl.next_logits(tokens, torch.empty(0))
        wanted = llama(torch.tensor([tokens])).logits[0, -1]
    assert torch.allclose(ours, wanted, atol=1e-4 * wanted.abs().max().item())


def test_pictures_go_through_the_second_set(owl: Owl) -> None:
    pictures = torch.randn(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        tokens = owl.picture_tokens(pictures)
        before = owl.next_logits([1, None, 4], pictures)
        assert tokens.shape == (2, 5, 32)  # four queries and the end mark
        assert torch.equal(tokens[0, -1], owl.model.visual_abstractor.vit_eos[0, 0])
        weight = owl.get_parameter("model.layers.0.self_attn.k_proj.multiway.1.weight")
        kept = weight.clone()
        weight.zero_()
        after, text = owl.next_logits([1, None, 4], pictures), owl.next_logits([1, 4], pictures)
        weight.copy_(kept)
        assert not torch.allclose(before, after)
        assert torch.equal(text, owl.next_logits([1, 4], pictures))


def test_the_vision_model_is_clips(owl: Owl) -> None:
    vision = owl.config.vision
    clip = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=vision.hidden_size, intermediate_size=vision.intermediate_size,
            num_hidden_layers=vision.num_hidden_layers, num_attention_heads=vision.num_attention_heads,
            image_size=vision.image_size, patch_size=vision.patch_size, hidden_act="quick_gelu",
            layer_norm_eps=vision.layer_norm_eps,
        )
    ).eval()  # fmt: skip
    own = {name.removeprefix("model.vision_model."): value for name, value in owl.state_dict().items()}
    theirs = {}
    for name in clip.state_dict():
        short = name.removeprefix("vision_model.")
        if short == "embeddings.position_ids":
            continue
        if "self_attn" in short and "out_proj" not in short:
            layer, which, kind = short.rpartition(".self_attn.")[0], short.split(".")[-2], short.split(".")[-1]
            fused = own[f"{layer}.self_attn.query_key_value.{kind}"]
            heads = fused.unflatten(0, (vision.num_attention_heads, 3, -1))
            theirs[name] = heads[:, "qkv".index(which[0])].flatten(0, 1)
            continue
        renamed = (
            short.replace("embeddings.class_embedding", "embeddings.cls_token")
            .replace("embeddings.patch_embedding", "embeddings.patch_embed")
            .replace("embeddings.position_embedding.weight", "embeddings.position_embedding")
            .replace("pre_layrnorm", "embeddings.pre_layernorm")
            .replace("self_attn.out_proj", "self_attn.dense")
            .replace("layer_norm1", "input_layernorm")
            .replace("layer_norm2", "post_attention_layernorm")
        )
        theirs[name] = own[renamed].reshape(clip.state_dict()[name].shape)
    clip.load_state_dict(theirs, strict=False)
    pictures = torch.randn(1, 3, 448, 448, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = owl.model.vision_model(pictures)
        inner = getattr(clip, "vision_model", clip)
        wanted = inner.post_layernorm(clip(pictures).last_hidden_state)
    assert torch.allclose(ours, wanted, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one-align, small: configuration, two shards with their index, a tokenizer."""
    folder = tmp_path_factory.mktemp("one-align")
    config = small_owl()
    values = {name: value for name, value in asdict(config).items() if name not in ("vision", "abstractor")}
    values["visual_config"] = {"visual_model": asdict(config.vision), "visual_abstractor": asdict(config.abstractor)}
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "mplug_owl2"}))
    state = formula(Owl(config))
    names = sorted(state)
    index: dict[str, str] = {}
    for shard in (1, 2):
        file = f"pytorch_model-0000{shard}-of-00002.bin"
        torch.save({name: state[name].half() for name in names[shard - 1 :: 2]}, folder / file)
        index |= dict.fromkeys(names[shard - 1 :: 2], file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    model = io.BytesIO()
    text = [qalign.prompt("quality", "image"), qalign.prompt("aesthetics", "video"), *qalign.WORDS] * 20
    SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, vocab_size=300, model_type="bpe", minloglevel=2,
        byte_fallback=False, bos_id=1, eos_id=2, unk_id=0, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return folder


async def test_a_small_model_from_published_files_scores_on_one_to_five(folder: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(64, 1), frames=60)
    async with MediaPool() as media:
        (clip,) = await look_at([Found("a", path, "a")], media)
        found = {}
        for name, metric in {
            "image": Iqa(weights=str(folder)),
            "video": Iqa(weights=str(folder), shown="video"),
            "ase": Ase(weights=str(folder)),
        }.items():
            await metric.start()
            found[name] = await metric.measure(clip, media)
            assert len(metric.identity()["weights"]) == 64
            await metric.stop()
    assert found["image"].detail["frames"] == [0, 25]
    assert (len(found["image"].detail["scores"]), len(found["video"].detail["scores"])) == (2, 1)
    for one in found.values():
        assert all(1 <= score <= 5 for score in one.values.values())
    assert found["image"].values["iqa"] == pytest.approx(np.mean(found["image"].detail["scores"]))
    assert found["ase"].values["ase"] != found["image"].values["iqa"]


def test_a_configuration_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        OwlConfig.read({"hidden_size": "wide"})


async def test_a_folder_without_its_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"config\.json"):
        await Iqa(weights=str(tmp_path)).start()
