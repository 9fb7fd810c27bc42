"""The decoder's recorded step, on a CPU by emulated graphs (docs/performance.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from emulated_graph import Captures, emulated_graphs
from livetalk.render.config import VAEConfig
from livetalk.render.model import random_tensors
from livetalk.render.model.graphs import CudaRecorder
from livetalk.render.vae import RECORDED_FROM, VAEStream, WanVAE, reference_shapes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    config = VAEConfig(dim=4, dim_mult=(1, 1, 1, 1), num_res_blocks=1)
    return WanVAE.from_state(config, random_tensors(reference_shapes(config)))


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Captures]:
    with emulated_graphs(monkeypatch) as captures:
        yield captures


def recorded(vae: WanVAE) -> VAEStream:
    return vae.decoder_stream(CudaRecorder(torch.device("cpu")))


def video(seed: int, latents: int = 9, side: int = 4) -> Tensor:
    return torch.randn((1, 16, latents, side, side), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cuts", [(9,), (1, 2, 3, 3), (3, 1, 1, 4)], ids=str)
def test_replayed_frames_are_the_plain_ones(vae: WanVAE, captures: Captures, cuts: tuple[int, ...]) -> None:
    """Two videos through one stream, the second shorter by an odd number, so that it begins at the other graph."""
    stream = recorded(vae)
    for seed, latents in ((1, 9), (2, 8), (3, 9)):
        stream.reset()
        whole = video(seed, latents)
        parts = [part for part in whole.split((*cuts[:-1], cuts[-1] - 9 + latents), dim=2) if part.shape[2]]
        frames = torch.cat([stream.decode(part) for part in parts])
        assert torch.equal(frames, vae.decode(whole))
        plain = vae.decoder_stream()
        plain.decode(whole)
        for ours, theirs in zip(stream.cache, plain.cache, strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or theirs is None or torch.equal(ours, theirs)
    assert len(captures.graphs) == 2
    assert captures.memories == 1


def test_frames_not_rounded_are_copies(vae: WanVAE, captures: Captures) -> None:
    whole = video(4)
    assert torch.equal(recorded(vae).decode_float(whole), vae.decode_float(whole))


def test_streams_do_not_meet(vae: WanVAE, captures: Captures) -> None:
    one, other = recorded(vae), recorded(vae)
    shown: tuple[list[Tensor], list[Tensor]] = ([], [])
    videos = video(5), video(6)
    for i in range(9):
        for stream, whole, seen in zip((one, other), videos, shown, strict=True):
            seen.append(stream.decode(whole[:, :, i : i + 1]))
    for whole, seen in zip(videos, shown, strict=True):
        assert torch.equal(torch.cat(seen), vae.decode(whole))
    assert captures.memories == 2


def test_what_is_too_short_or_of_another_size_is_decoded_as_ever(vae: WanVAE, captures: Captures) -> None:
    stream = recorded(vae)
    stream.decode(video(7, RECORDED_FROM))
    assert not stream.recorded
    assert captures.graphs == []
    stream.reset()
    stream.decode(video(7))
    assert stream.recorded
    stream.reset()
    large = video(8, side=6)
    assert torch.equal(stream.decode(large), vae.decode(large))
    stream.reset()
    assert torch.equal(stream.decode(video(9)), vae.decode(video(9)))
    assert len(captures.graphs) == 2


class Launches(TorchDispatchMode):
    """Operations that Python asks for one by one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_hardly_anything_is_left_outside(vae: WanVAE, captures: Captures) -> None:
    counts = []
    for stream in (vae.decoder_stream(), recorded(vae)):
        stream.decode(video(1))
        with Launches() as launches:
            stream.decode(video(2, 3))
        counts.append(launches.count)
    plain, replayed = counts
    assert plain > 900
    # Of each latent: its cut and copy, frames to uint8 (9 operations), and what joins them.
    assert replayed < 60
