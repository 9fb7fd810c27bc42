"""Speech features to per-layer conditions: four video frames packed per latent frame, then one map per layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from livetalk.render.config import TEMPORAL_STRIDE, DiTConfig


class AudioCondition(nn.Module):
    """``audio_proj`` and ``audio_cond_projs`` of the checkpoint (spec 5.8, 5.9)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.pack = nn.Linear(TEMPORAL_STRIDE * config.audio_feat_dim, config.audio_hidden)
        self.norm = nn.LayerNorm(config.audio_hidden, eps=1e-5)
        # All injections as one map, [P·dim, hidden].
        self.project = nn.Linear(config.audio_hidden, config.audio_injections * config.dim)
        self.injections = config.audio_injections

    def packed(self, features: Tensor) -> Tensor:
        """Features [4F, C], four rows per latent frame, to [F, hidden]."""
        if features.ndim != 2 or len(features) % TEMPORAL_STRIDE:
            raise ValueError(f"expected features [4·frames, channels], got {list(features.shape)}")
        return self.norm(self.pack(features.reshape(len(features) // TEMPORAL_STRIDE, -1)))  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        """Features [4F, C] to conditions [P, F, dim]."""
        condition = self.project(self.packed(features))
        return condition.unflatten(-1, (self.injections, -1)).transpose(0, 1)  # type: ignore[no-any-return]


def lead_in(features: Tensor) -> Tensor:
    """Make a clip's 4F−3 rows 4F by repeating the first: latent frame 0 sees video frame 0 four times."""
    return torch.cat((features[:1].expand(TEMPORAL_STRIDE - 1, -1), features))
