"""Whether what a run makes has collapsed: black, static, oversaturated, or no number at all (recipe 8).

What is made is compared with what it is made from, or with the run's own beginning: no absolute threshold is published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Collapse = Literal["not a number", "black", "static", "oversaturated"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run is stopped."""

    black: float = 0.25
    """Least brightness of a decoded frame, as a share of its portrait's."""
    static: float = 0.1
    """Least change from frame to frame, as a share of what it was at the beginning."""
    oversaturated: float = 2.0
    """Largest spread of the latents, as a multiple of what it was at the beginning."""
    beginning: int = 10
    """Observations that make the beginning; nothing but NaN and black is found before."""
    patience: int = 5
    """Observations in a row that must say the same."""


@torch.no_grad()
def observe(sample: Tensor) -> dict[str, float]:
    """Spread and change of a clip's latents [F,16,h,w], frame 0 (the reference) left out of the spread."""
    latents = sample.float()
    return {
        "spread": float(latents[1:].std()),
        "change": float((latents[1:] - latents[:-1]).abs().mean()),
    }


@torch.no_grad()
def brightness(frames: Tensor) -> float:
    """Mean luma (Rec. 709) of uint8 frames [T,H,W,3], 0 … 1."""
    weights = frames.new_tensor((0.2126, 0.7152, 0.0722), dtype=torch.float32)
    return float((frames.float() / 255 @ weights).mean())


@dataclass(slots=True)
class Monitor:
    """Remembers the beginning, and what was seen last."""

    limits: Limits = field(default_factory=Limits)
    seen: int = 0
    spread: float = 0.0
    """Mean over the beginning."""
    change: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    """Observations in a row, by what they say."""

    def look(self, measured: Mapping[str, float]) -> Collapse | None:
        """Take an observation; what has collapsed, if so.

        Args:
            measured: "spread" and "change", perhaps "brightness" (a share of the portrait's) and "loss".
        """
        if not all(math.isfinite(value) for value in measured.values()):
            return "not a number"
        limits = self.limits
        found: dict[Collapse, bool] = {"black": measured.get("brightness", 1.0) < limits.black}
        if self.seen < limits.beginning:
            self.seen += 1
            self.spread += (measured["spread"] - self.spread) / self.seen
            self.change += (measured["change"] - self.change) / self.seen
        else:
            found["static"] = measured["change"] < limits.static * self.change
            found["oversaturated"] = measured["spread"] > limits.oversaturated * self.spread
        self.rows = {name: self.rows.get(name, 0) + 1 for name, so in found.items() if so}
        return next((name for name in found if self.rows.get(name, 0) >= limits.patience), None)

    def state(self) -> dict[str, Any]:
        """To be kept in a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name != "limits"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
