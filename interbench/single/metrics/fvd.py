"""Fréchet video distance and its kernel twin: how near clips lie to references, motion included."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, Taken
from interbench.single.figures import compared
from interbench.single.networks import Network, formula_caveat, network

Name = Literal["disco", "stylegan-v", "junyaohu", "fastvideo", "latentsync-frames"]
Pixels = npt.NDArray[np.uint8]
_WINDOW = 16
_LEAST = 10


@dataclass(frozen=True, slots=True)
class Variant:
    """One published way of computing it."""

    description: str
    resizer: str
    """Name of a function of :mod:`interbench.single.resize`."""
    ddof: int
    windows: Callable[[int, str], list[tuple[int, int]]]
    """First and last-but-one frame of each window, from the number of frames and the clip's hash."""
    ridge: float = 0.0


def _every(frames: int, clip: str) -> list[tuple[int, int]]:
    return [(start, start + _WINDOW) for start in range(frames - _WINDOW + 1)]


def _one(frames: int, clip: str) -> list[tuple[int, int]]:
    if frames < _WINDOW:
        return []
    # Anywhere, but the same place whenever the same clip is asked for.
    draw = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big")
    start = draw % (frames - _WINDOW + 1)
    return [(start, start + _WINDOW)]


def _whole(frames: int, clip: str) -> list[tuple[int, int]]:
    return [(0, frames)] if frames >= _LEAST else []


def _twentieth(frames: int, clip: str) -> list[tuple[int, int]]:
    return [(20, 20 + _WINDOW)] if frames >= 20 + _WINDOW else []


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "disco": Variant(
            "every window of 16 frames, bicubic to a square of 224, covariance over N - 1 (DisCo; the Hallo family)",
            "pillow_square",
            1,
            _every,
        ),
        "stylegan-v": Variant(
            "16 frames of a clip from a random one on, stretched to 224, covariance over N (StyleGAN-V's fvd2048_16f)",
            "stretched",
            0,
            _one,
        ),
        "junyaohu": Variant(
            "whole clips, shorter side to 224 and the middle of it, covariance over N - 1 (common_metrics_on_video_"
            "quality)",
            "centre_cropped",
            1,
            _whole,
        ),
        "fastvideo": Variant(
            "whole clips, stretched to 224, covariance over N - 1 with 1e-6 on its diagonal (FastVideo)",
            "stretched",
            1,
            _whole,
            ridge=1e-6,
        ),
        "latentsync-frames": Variant(
            "frames 20 to 35, averaged to 224, covariance over N - 1 (LatentSync, without its face crop, and on -1..1 "
            "where it feeds 0..1)",
            "area",
            1,
            _twentieth,
        ),
    }
)


class Fvd(Metric):
    """FVD and KVD on the 400 logits of I3D, pictures in -1..1.

    Args:
        weights: the file i3d_pretrained_400.pt if it lies elsewhere; formula for weights by formula.
        variant: whose way of computing it; they differ by factors.
        rate: frames a second to which all clips are brought before windows are cut.
        device: auto, cpu, cuda, cuda:1 …
    """

    columns = (
        Column("fvd", "FVD", "lower", "Fréchet distance between I3D logits of clips and of the references"),
        Column("kvd", "KVD", "lower", "cubic MMD of the same features; comparable across numbers of clips"),
    )
    compares = True

    def __init__(
        self, weights: str | None = None, variant: Name = "disco", rate: float = 25.0, device: str = "auto"
    ) -> None:
        if not rate > 0:
            raise ValueError("rate must be positive")
        self._weights, self._device, self._rate = weights, device, rate
        self._name, self._variant = variant, VARIANTS[variant]
        self._network: Network[Any] | None = None

    async def start(self) -> None:
        def make() -> Any:
            from interbench.single.nets.i3d import I3D

            return I3D()

        self._network = await asyncio.to_thread(network, "i3d", make, self._weights, self._device)

    def identity(self) -> Mapping[str, Any]:
        return {"metric": "fvd", "weights": self._ready.weights, "variant": self._name, "rate": self._rate}

    @property
    def caveats(self) -> tuple[str, ...]:
        return (
            f"FVD and KVD as {self._name}: {self._variant.description}; all clips at {self._rate:g} frames a second.",
            *formula_caveat({"FVD and KVD": self._ready}),
        )

    @property
    def _ready(self) -> Network[Any]:
        assert self._network is not None, "start comes first"
        return self._network

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        assert clip.facts is not None
        ready = [
            await asyncio.to_thread(self._prepared, stretch.pixels)
            async for stretch in media.sequence(clip.path, rate=self._rate)
        ]
        frames = sum(part.shape[1] for part in ready)
        windows = self._variant.windows(frames, clip.facts.sha256)
        if not windows:
            return Measured(missing=f"only {frames} frames at {self._rate:g} a second")
        features = await asyncio.to_thread(self._features, ready, windows)
        return Measured(features=features, detail={"frames": frames, "windows": len(windows)})

    def _prepared(self, pictures: Pixels) -> Any:
        from interbench.single import resize
        from interbench.single.nets.i3d import SIDE

        return getattr(resize, self._variant.resizer)(pictures, SIDE)

    def _features(self, ready: Sequence[Any], windows: Sequence[tuple[int, int]]) -> Any:
        import torch

        module = self._ready.module
        whole = torch.cat(list(ready), 1)
        device = next(module.parameters()).device
        with torch.inference_mode():
            rows = [module(whole[None, :, start:end].to(device)).float().cpu() for start, end in windows]
        return torch.cat(rows).numpy()

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        fvd, kvd = compared(own, references, ddof=self._variant.ddof, ridge=self._variant.ridge)
        return {"fvd": fvd, "kvd": kvd}

    async def stop(self) -> None:
        self._network = None
