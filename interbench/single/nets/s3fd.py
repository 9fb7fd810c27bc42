"""S3FD, the face detector in front of SyncNet (Zhang et al., 2017), and what makes boxes of its answers.

Key names are those of ``sfd_face.pth``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Boxes = npt.NDArray[np.float32]

MEAN_BGR = (104.0, 117.0, 123.0)
_SIZES = (16, 32, 64, 128, 256, 512)
_STEPS = (4, 8, 16, 32, 64, 128)
_VARIANCES = (0.1, 0.2)
_LEAST_SCORE = 0.05
_MOST_BEFORE = 5000
_MOST_AFTER = 750
_OVERLAP_INSIDE = 0.3


class _L2Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        length = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        return x / length * self.weight[None, :, None, None]


def _backbone() -> list[nn.Module]:
    layers: list[nn.Module] = []
    into = 3
    for block, (out, repeats) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if block:
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=block == 3))
        for _ in range(repeats):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.ReLU()]
            into = out
    layers += [nn.MaxPool2d(2, 2), nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU()]
    return [*layers, nn.Conv2d(1024, 1024, 1), nn.ReLU()]


class S3FD(nn.Module):
    """Pictures [N, 3, h, w], RGB in 0..255 with :data:`MEAN_BGR` taken off plane by plane, to offsets [N, P, 4] and
    probabilities [N, P, 2] (background, face) of the P anchors of :func:`anchors`."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(_backbone())
        self.L2Norm3_3 = _L2Norm(256)
        self.L2Norm4_3 = _L2Norm(512)
        self.L2Norm5_3 = _L2Norm(512)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )
        widths = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList([nn.Conv2d(width, 4, 3, padding=1) for width in widths])
        self.conf = nn.ModuleList([nn.Conv2d(width, 2 if at else 4, 3, padding=1) for at, width in enumerate(widths)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sources: list[Tensor] = []
        taps = {15: self.L2Norm3_3, 22: self.L2Norm4_3, 29: self.L2Norm5_3}
        for number, layer in enumerate(self.vgg):
            x = layer(x)
            if number in taps:
                sources.append(taps[number](x))
        sources.append(x)
        for number, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if number % 2:
                sources.append(x)
        offsets, scores = [], []
        for at, source in enumerate(sources):
            score = self.conf[at](source)
            if not at:
                # The finest level has three kinds of background, of which the likeliest counts.
                score = torch.cat([score[:, :3].max(dim=1, keepdim=True).values, score[:, 3:]], 1)
            offsets.append(self.loc[at](source).permute(0, 2, 3, 1).flatten(1))
            scores.append(score.permute(0, 2, 3, 1).flatten(1))
        n = len(x)
        return torch.cat(offsets, 1).view(n, -1, 4), torch.cat(scores, 1).view(n, -1, 2).softmax(dim=-1)


def levels(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of the six maps that answer for a picture of this size."""
    found = []
    for level in range(6):
        if level:
            # The second halving rounds up, and so do the strided convolutions of the last two levels.
            up = level == 1 or level > 3
            height, width = ((-(-side // 2) if up else side // 2) for side in (height, width))
        else:
            height, width = height // 2 // 2, width // 2 // 2
        found.append((height, width))
    return found


def anchors(height: int, width: int) -> Tensor:
    """Centre and size [P, 4] of the anchors of a picture, as shares of its width and height."""
    made = [
        (
            (column + 0.5) * step / width,
            (row + 0.5) * step / height,
            size / width,
            size / height,
        )
        for (rows, columns), size, step in zip(levels(height, width), _SIZES, _STEPS, strict=True)
        for row, column in itertools.product(range(rows), range(columns))
    ]
    return torch.tensor(made, dtype=torch.float32)


def decoded(offsets: Tensor, priors: Tensor) -> Tensor:
    """Corners [P, 4] (x0, y0, x1, y1; shares of the picture) of what the offsets make of the anchors."""
    centre = priors[:, :2] + offsets[:, :2] * _VARIANCES[0] * priors[:, 2:]
    size = priors[:, 2:] * torch.exp(offsets[:, 2:] * _VARIANCES[1])
    corner = centre - size / 2
    return torch.cat([corner, corner + size], 1)


def faces(offsets: Tensor, scores: Tensor, priors: Tensor) -> Boxes:
    """Score and corners [K, 5] of the faces of one picture, best first; corners are shares of the picture."""
    score = scores[:, 1]
    likely = score > _LEAST_SCORE
    boxes, score = decoded(offsets, priors)[likely], score[likely]
    order = torch.argsort(score, descending=True, stable=True)[:_MOST_BEFORE]
    boxes, score = boxes[order], score[order]
    kept = _apart(boxes.numpy(), np.arange(len(boxes)), _OVERLAP_INSIDE)[:_MOST_AFTER]
    return torch.cat([score[kept, None], boxes[kept]], 1).numpy()


def suppressed(boxes: npt.NDArray[np.floating], threshold: float) -> list[int]:
    """Numbers of the rows of ``boxes`` [N, 5] (corners, score) that stand when of two which overlap by more than
    ``threshold`` the better stays; best first."""
    return _apart(boxes[:, :4], boxes[:, 4].argsort()[::-1], threshold)


def _apart(corners: npt.NDArray[np.floating], order: npt.NDArray[np.intp], threshold: float) -> list[int]:
    x0, y0, x1, y1 = corners.T
    areas = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        width = np.maximum(0, np.minimum(x1[first], x1[rest]) - np.maximum(x0[first], x0[rest]))
        height = np.maximum(0, np.minimum(y1[first], y1[rest]) - np.maximum(y0[first], y0[rest]))
        shared = width * height
        order = rest[shared / (areas[first] + areas[rest] - shared) <= threshold]
    return kept


def prepared(pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """RGB pictures [h, w, 3] of one size as the network takes them."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return stacked - torch.tensor(MEAN_BGR[::-1]).view(1, 3, 1, 1)
