"""What Q-Align is asked, and how its answer becomes a score from 1 to 5.

Wu et al., "Q-Align" (2023). The model answers with a word of five; its probabilities over the five, weighted 5 for
"excellent" to 1 for "bad", are the score. Its repository's ``scorer.py`` weights them 1 to 0 instead; the tables of
avatar papers are on 1…5, and so is everything here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Asked = Literal["quality", "aesthetics"]
Shown = Literal["image", "video"]

WORDS = ("excellent", "good", "fair", "poor", "bad")
PICTURE = "<|image|>"
"""Where the picture's tokens stand in a prompt."""
PADDING_RGB = (122, 116, 104)
"""CLIP's mean colour, as bytes."""
SIDE = 448
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def prompt(asked: Asked, shown: Shown) -> str:
    """What the model is told. "aesthetics" and no other word: it was trained on that one."""
    return f"USER: How would you rate the {asked} of this {shown}?\n{PICTURE}\nASSISTANT: The {asked} of the {shown} is"


def scores(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Scores [...] from 1 to 5 of logits [..., 5] in the order of :data:`WORDS`."""
    values = np.asarray(logits, np.float64)
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shares @ np.arange(len(WORDS), 0, -1, dtype=np.float64)
    return found


def of_zero_to_one(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores from 1 to 5 on the scale of ``scorer.py``, 0 to 1; to be compared with others' figures only."""
    scaled: npt.NDArray[np.float64] = (score - 1) / 4
    return scaled


def squared(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An RGB picture [h, w, 3] padded to a square with CLIP's mean colour, in the middle."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), PADDING_RGB, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def token_ids(prompts: Sequence[Sequence[int]], bos: int) -> list[int | None]:
    """Tokens of a prompt from those of its pieces around :data:`PICTURE`; None stands for the picture.

    Each piece was tokenised by itself and may begin with ``bos``, of which only the first is kept.
    """
    found: list[int | None] = []
    for number, piece in enumerate(prompts):
        own = list(piece)
        if number:
            found.append(None)
            if own[:1] == [bos]:
                own = own[1:]
        found += own
    return found
