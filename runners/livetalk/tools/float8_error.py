"""What 8-bit linear layers change in the transformer's output, against the same weights without them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from livetalk.render.config import StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.float8 import quantize_layers


@dataclass(frozen=True, slots=True)
class Float8Error:
    """Of a block: root mean square of the difference to that of the exact result."""

    block: int
    flow: float
    """Of one forward from the same noise."""
    latents: float


def measure(dit: CausalDiT, stream: StreamConfig, blocks: int) -> Iterator[Float8Error]:
    """Two sessions of the same inputs, block by block."""
    models = dit, quantize_layers(copy.deepcopy(dit))
    sessions = [BlockGenerator(model, stream) for model in models]
    draw = torch.Generator(dit.device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, device=dit.device)

    context, reference = random(1, 512, dit.config.text_dim), random(*sessions[0].reference.shape).unsqueeze(2)
    for session in sessions:
        session.start(context, reference)
    for block in range(blocks):
        audio, noise = random(*sessions[0].audio.shape), random(*sessions[0].noise.shape)
        exact, coarse = (session.denoise(audio, noise) for session in sessions)
        with torch.inference_mode():
            flows = [session.flow(noise[0].to(dit.dtype), 0) for session in sessions]
        yield Float8Error(block, _relative(*flows), _relative(exact, coarse))
        for session in sessions:
            session.clean()


def _relative(exact: Tensor, coarse: Tensor) -> float:
    difference = (coarse.double() - exact.double()).square().mean().sqrt()
    return (difference / exact.double().square().mean().sqrt()).item()
