"""Classifier-free guidance with true scales (recipe 2.3): 1 is the conditional prediction, 0 the unconditional.

The published training code writes its equal branch as C + g(C − U), where g is the true scale less one, and its separate
branch with true scales, under the same names of options. Here there is one function and one convention.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Branch = Literal["conditional", "text-only", "unconditional"]
"""f(text, audio), f(text, zero audio), f(negative text, zero audio); the image stays in all of them."""


class Scales(NamedTuple):
    """True scales of the text and of the audio."""

    text: float
    audio: float

    @property
    def equal(self) -> bool:
        return self.text == self.audio

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The predictions that are needed, in order."""
        if self.equal:
            return ("conditional",) if self.text == 1 else ("conditional", "unconditional")
        return ("conditional", "text-only", "unconditional")


def from_published(guidance_scale: float) -> float:
    """The true scale of a number in the published training configuration's equal branch: 3 is 4, 5 is 6."""
    return guidance_scale + 1


def guided(predictions: dict[Branch, Tensor], scales: Scales) -> Tensor:
    """U + text·(T − U) + audio·(C − T); with equal scales the text-only prediction T is not needed.

    Args:
        predictions: of every branch in ``scales.branches``, flows or clean samples alike.
    """
    conditional = predictions["conditional"]
    if scales.branches == ("conditional",):
        return conditional
    unconditional = predictions["unconditional"]
    if scales.equal:
        return unconditional + scales.text * (conditional - unconditional)
    text_only = predictions["text-only"]
    return unconditional + scales.text * (text_only - unconditional) + scales.audio * (conditional - text_only)
