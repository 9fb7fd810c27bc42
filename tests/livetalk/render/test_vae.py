"""The streaming decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from livetalk.render.config import Size, VAEConfig
from livetalk.render.model import random_tensors
from livetalk.render.pipeline import load_models, random_models
from livetalk.render.vae import WanVAE, original_names, reference_shapes, to_uint8
from livetalk.tools.parity import Fixtures
from tiny_checkpoints import TinyCheckpoints


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn((1, 16, 7, 4, 6), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("cuts", [(1, 6), (3, 4), (1, 1, 5), (3, 3, 1), (1,) * 7])
def test_pieces_are_bit_for_bit_the_whole(vae: WanVAE, latents: torch.Tensor, cuts: tuple[int, ...]) -> None:
    stream = vae.decoder_stream()
    parts = [stream.decode(part) for part in latents.split(cuts, dim=2)]
    assert [len(part) for part in parts] == [4 * cuts[0] - 3, *(4 * cut for cut in cuts[1:])]
    assert torch.equal(torch.cat(parts), vae.decode(latents))


def test_first_frame_after_the_first_latent(vae: WanVAE, latents: torch.Tensor) -> None:
    stream = vae.decoder_stream()
    assert stream.decode(latents[:, :, :1]).shape == (1, 32, 48, 3)
    assert stream.decode(latents[:, :, 1:2]).shape == (4, 32, 48, 3)


def test_conversations_do_not_disturb_each_other(vae: WanVAE, latents: torch.Tensor) -> None:
    other = latents.flip(2)
    first, second = vae.decoder_stream(), vae.decoder_stream()
    picture = torch.zeros((1, 3, 1, 32, 48))
    parts: list[list[torch.Tensor]] = [[], []]
    for index in range(7):
        parts[0].append(first.decode(latents[:, :, index : index + 1]))
        vae.encode_image(picture)
        parts[1].append(second.decode(other[:, :, index : index + 1]))
        vae.decode(other[:, :, :1])
    assert torch.equal(torch.cat(parts[0]), vae.decode(latents))
    assert torch.equal(torch.cat(parts[1]), vae.decode(other))


def test_reset_begins_anew(vae: WanVAE, latents: torch.Tensor) -> None:
    stream = vae.decoder_stream()
    once = stream.decode(latents)
    stream.reset()
    assert stream.cache == ()
    assert torch.equal(stream.decode(latents), once)


def test_the_cache_does_not_grow(vae: WanVAE, latents: torch.Tensor) -> None:
    stream = vae.decoder_stream()
    stream.decode(latents)
    sizes = [slot.shape for slot in stream.cache if slot is not None]
    stream.decode(latents)
    assert [slot.shape for slot in stream.cache if slot is not None] == sizes
    assert all(shape[2] == 2 for shape in sizes)


def test_uint8_is_truncated() -> None:
    values = torch.tensor([-3.0, -1.0, 0.0, 0.999, 1.0, 3.0]).view(1, 1, 6, 1, 1).expand(1, 3, 6, 2, 2)
    assert to_uint8(values)[:, 0, 0, 0].tolist() == [0, 0, 127, 254, 255, 255]


def test_frames_are_contiguous_bytes(vae: WanVAE, latents: torch.Tensor) -> None:
    frames = vae.decode(latents[:, :, :2])
    assert frames.dtype == torch.uint8
    assert frames.is_contiguous()


def test_the_fast_convolutions_agree_with_torchs_own(golden: Fixtures, vae: WanVAE, latents: torch.Tensor) -> None:
    assert type(vae.module.decoder.conv_in) is not type(golden.vae.module.decoder.conv_in)
    assert torch.allclose(golden.vae.decode_float(latents), vae.decode_float(latents), atol=2e-5)


def test_channels_last_agrees(golden: Fixtures, vae: WanVAE, latents: torch.Tensor) -> None:
    _, state = golden.weights("vae")
    other = WanVAE.from_state(VAEConfig(dim=8), state, channels_last=True)
    assert other.module.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.allclose(other.decode_float(latents), vae.decode_float(latents), atol=2e-5)


def test_models_are_built_channels_last_on_any_device(checkpoints: TinyCheckpoints, tiny: Size) -> None:
    """A CPU convolves them twice as fast."""
    for models in (random_models(tiny), load_models(checkpoints.files, tiny, dtype=torch.float32, device="cpu")):
        module: Any = models.vae.module
        convolution = module.decoder.mid_block.resnets[0].conv1
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_bfloat16_is_near(golden: Fixtures, vae: WanVAE, latents: torch.Tensor) -> None:
    _, state = golden.weights("vae")
    half = WanVAE.from_state(VAEConfig(dim=8), state, dtype=torch.bfloat16)
    difference = half.decode_float(latents).float() - vae.decode_float(latents)
    assert difference.square().mean().sqrt() < 0.03
    assert half.encode_image(torch.zeros((1, 3, 1, 16, 16))).dtype == torch.float32


def test_encoding_then_decoding_keeps_the_frame_count(vae: WanVAE) -> None:
    clip = torch.rand((1, 3, 9, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = vae.encode_clip(clip)
    assert latent.shape == (1, 16, 3, 4, 4)
    assert vae.decode(latent).shape == (9, 32, 32, 3)
    # The first latent only ever sees the first frame.
    assert torch.equal(latent[:, :, :1], vae.encode_image(clip[:, :, :1]))


@pytest.mark.parametrize(
    ("call", "shape", "message"),
    [
        ("encode_image", (1, 3, 2, 16, 16), "one picture"),
        ("encode_clip", (1, 3, 3, 16, 16), "4k"),
        ("encode_clip", (1, 3, 1, 20, 16), "multiples of 8"),
        ("decode", (1, 4, 1, 4, 4), r"\[1, 16, k, h, w\]"),
        ("decode", (1, 16, 0, 4, 4), r"\[1, 16, k, h, w\]"),
    ],
)
def test_wrong_shapes_are_refused(vae: WanVAE, call: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(vae, call)(torch.zeros(shape))


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(),
        VAEConfig(dim=4, num_res_blocks=1),
        VAEConfig(dim=4, dim_mult=(1, 2, 2), temporal_downsample=(True, False)),
    ],
)
def test_every_tensor_has_one_original_name(config: VAEConfig) -> None:
    names = original_names(config)
    assert len(set(names.values())) == len(names)
    assert set(reference_shapes(config)) == set(names)


def test_another_depth_runs() -> None:
    config = VAEConfig(dim=4, num_res_blocks=1)
    other = WanVAE.from_state(config, random_tensors(reference_shapes(config)))
    z = torch.randn((1, 16, 3, 2, 2), generator=torch.Generator().manual_seed(1))
    stream = other.decoder_stream()
    parts = [stream.decode(part) for part in z.split(1, dim=2)]
    assert [len(part) for part in parts] == [1, 4, 4]
    assert torch.equal(torch.cat(parts), other.decode(z))
