"""The branches of guidance in training; scales are true ones, and one function combines (``Guidance.combine``).

The published training code writes its equal branch as C + g(C − U), where g is the true scale less one, and its
separate branch with true scales, under the same names of options (recipe 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from livetalk.render.omniavatar.sampler import Guidance

Branch = Literal["conditional", "text-only", "unconditional"]
"""f(text, audio), f(text, zero audio), f(negative text, zero audio); the image stays in all of them."""

_BRANCHES: dict[int, tuple[Branch, ...]] = {
    1: ("conditional",),
    2: ("conditional", "unconditional"),
    3: ("conditional", "text-only", "unconditional"),
}


def branches_of(guidance: Guidance) -> tuple[Branch, ...]:
    """The predictions that are needed, in order."""
    return _BRANCHES[guidance.branches]


def guided(predictions: Mapping[Branch, Tensor], guidance: Guidance) -> Tensor:
    """The predictions of all branches, flows or clean samples alike, as one."""
    return guidance.combine(predictions["conditional"], predictions.get("text-only"), predictions.get("unconditional"))


def from_published(guidance_scale: float) -> float:
    """The true scale of a number in the published training configuration's equal branch: 3 is 4, 5 is 6."""
    return guidance_scale + 1
