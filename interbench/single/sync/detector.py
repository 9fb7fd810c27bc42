"""Face boxes by S3FD, frame by frame, as the published pipeline asks it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from interbench.single.bilinear import bilinear_bytes
from interbench.single.nets.s3fd import S3FD, anchors, faces, prepared, suppressed
from interbench.single.sync.tracks import Box

SCALE = 0.25
"""Of the picture, on which faces are looked for."""
_LEAST_SCORE = 0.9
_OVERLAP = 0.1
_BATCH = 8


def find_faces(network: S3FD, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[list[Box]]:
    """Corners (x0, y0, x1, y1) in pixels of the faces of each picture (RGB, all of one size), best first."""
    found: list[list[Box]] = []
    device = next(network.parameters()).device
    for start in range(0, len(pictures), _BATCH):
        some = pictures[start : start + _BATCH]
        height, width = some[0].shape[:2]
        small = max(1, round(height * SCALE)), max(1, round(width * SCALE))
        priors = anchors(*small)
        with torch.inference_mode():
            offsets, scores = network(prepared([bilinear_bytes(one, *small) for one in some]).to(device))
        for offset, score in zip(offsets.float().cpu(), scores.float().cpu(), strict=True):
            rows = faces(offset, score, priors)
            rows = rows[rows[:, 0] > _LEAST_SCORE]
            corners = rows[:, 1:] * np.array([width, height, width, height], np.float32)
            kept = suppressed(np.concatenate([corners, rows[:, :1]], axis=1), _OVERLAP)
            found.append([corners[number].astype(np.float64) for number in kept])
    return found
