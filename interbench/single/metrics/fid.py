"""Fréchet and kernel inception distance: how near the pictures of clips lie to those of references."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, Taken
from interbench.single.figures import compared
from interbench.single.networks import Network, formula_caveat, network

Resizer = Literal["pytorch-fid", "torchmetrics", "clean-fid", "torch-fidelity"]


class Fid(Metric):
    """FID and KID on the frames of clips, through TensorFlow's Inception of 2015.

    Args:
        weights: the file pt_inception-2015-12-05-6726825d.pth if it lies elsewhere; formula for weights by formula.
        resize: as which program brings pictures to 299 x 299; their FIDs differ.
        stride: every so many frames of a clip; 1 is all of them.
        device: auto, cpu, cuda, cuda:1 …
        batch: pictures at a time.
    """

    columns = (
        Column(
            "fid", "FID", "lower", "Fréchet distance between Inception features of all frames and of the references'"
        ),
        Column("kid", "KID", "lower", "cubic MMD of the same features; comparable across numbers of clips", 4),
    )
    compares = True

    def __init__(
        self,
        weights: str | None = None,
        resize: Resizer = "pytorch-fid",
        stride: int = 1,
        device: str = "auto",
        batch: int = 16,
    ) -> None:
        if stride < 1 or batch < 1:
            raise ValueError("stride and batch must be at least 1")
        self._weights, self._device, self._batch = weights, device, batch
        self._resize, self._stride = resize, stride
        self._network: Network[Any] | None = None

    async def start(self) -> None:
        def make() -> Any:
            from interbench.single.nets.inception import Inception

            return Inception()

        self._network = await asyncio.to_thread(network, "inception", make, self._weights, self._device)

    def identity(self) -> Mapping[str, Any]:
        return {"metric": "fid", "weights": self._ready.weights, "resize": self._resize, "stride": self._stride}

    @property
    def caveats(self) -> tuple[str, ...]:
        stride = "all frames" if self._stride == 1 else f"every {self._stride}th frame"
        return (
            f"FID and KID: {stride}, brought to 299 pixels as {self._resize} does, covariance over N - 1.",
            *formula_caveat({"FID and KID": self._ready}),
        )

    @property
    def _ready(self) -> Network[Any]:
        assert self._network is not None, "start comes first"
        return self._network

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        features = []
        seen = 0
        async for stretch in media.sequence(clip.path):
            kept = stretch.pixels[-stretch.first % self._stride :: self._stride]
            seen += len(kept)
            for start in range(0, len(kept), self._batch):
                part = await asyncio.to_thread(self._features, kept[start : start + self._batch])
                features.append(part)
        return Measured(features=np.concatenate(features), detail={"frames": seen})

    def _features(self, pictures: Any) -> Any:
        import torch

        from interbench.single.nets.inception import SIDE
        from interbench.single.resize import FID_RESIZERS

        module = self._ready.module
        with torch.inference_mode():
            ready = FID_RESIZERS[self._resize](pictures, SIDE).to(next(module.parameters()).device)
            return module(ready).float().cpu().numpy()

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        fid, kid = compared(own, references, ddof=1)
        return {"fid": fid, "kid": kid}

    async def stop(self) -> None:
        self._network = None
