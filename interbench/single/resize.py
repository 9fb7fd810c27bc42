"""The ways in which published metrics bring pictures to a network's size. They differ, and the figures with them.

Pictures are uint8 RGB ``[N, h, w, 3]`` unless a docstring says otherwise; networks get float32 ``[N, 3, H, W]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Pictures = npt.NDArray[np.uint8]


def planes(pictures: Pictures) -> Tensor:
    """Float32 [N, 3, h, w] in 0..255."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()


def half_pixel(pictures: Pictures, side: int) -> Tensor:
    """Bilinear between pixel centres, no antialiasing, -1..1: as pytorch-fid."""
    unit = F.interpolate(planes(pictures) / 255, (side, side), mode="bilinear", align_corners=False)
    return unit * 2 - 1


def antialiased(pictures: Pictures, side: int) -> Tensor:
    """Bilinear with antialiasing, -1..1: as torchmetrics by default."""
    unit = F.interpolate(planes(pictures) / 255, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return unit * 2 - 1


def pillow_bicubic(pictures: Pictures, side: int) -> Tensor:
    """Pillow's antialiased bicubic on floats, clipped to 0..255, (x - 128) / 128: as clean-fid."""
    channels = pictures.astype(np.float32)
    resized = np.stack(
        [
            np.stack(
                [
                    np.asarray(Image.fromarray(picture[:, :, c]).resize((side, side), Image.Resampling.BICUBIC))
                    for c in range(3)
                ]
            )
            for picture in channels
        ]
    )
    return (torch.from_numpy(resized.clip(0, 255)) - 128) / 128


def tensorflow_1(pictures: Pictures, side: int) -> Tensor:
    """Bilinear from the corner of each pixel as TensorFlow 1 does, (x - 128) / 128: as torch-fidelity."""
    x = planes(pictures)

    def along(size: int) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(side, dtype=torch.float32) * (size / side)
        low = place.floor().long()
        return low, (low + 1).clamp(max=size - 1), place - low

    top, bottom, down = along(x.shape[2])
    left, right, across = along(x.shape[3])
    upper = x[:, :, top][:, :, :, left] * (1 - across) + x[:, :, top][:, :, :, right] * across
    lower = x[:, :, bottom][:, :, :, left] * (1 - across) + x[:, :, bottom][:, :, :, right] * across
    return (upper * (1 - down[:, None]) + lower * down[:, None] - 128) / 128


FID_RESIZERS: Mapping[str, Callable[[Pictures, int], Tensor]] = {
    "pytorch-fid": half_pixel,
    "torchmetrics": antialiased,
    "clean-fid": pillow_bicubic,
    "torch-fidelity": tensorflow_1,
}
"""By the name of the program that does it so."""


def stretched(pictures: Pictures, side: int) -> Tensor:
    """A clip's pictures stretched to a square, no antialiasing: [3, T, side, side] in -1..1."""
    return half_pixel(pictures, side).transpose(0, 1)


def centre_cropped(pictures: Pictures, side: int) -> Tensor:
    """The shorter side brought to ``side`` without antialiasing, then the middle: [3, T, side, side] in -1..1."""
    height, width = pictures.shape[1:3]
    scale = side / min(height, width)
    size = (side, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), side)
    unit = F.interpolate(planes(pictures) / 255, size, mode="bilinear", align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return ((unit[:, :, top : top + side, left : left + side] - 0.5) * 2).transpose(0, 1)


def pillow_square(pictures: Pictures, side: int) -> Tensor:
    """Stretched by Pillow's antialiased bicubic on bytes: [3, T, side, side], x / 127.5 - 1."""
    resized = [
        np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures
    ]
    return (planes(np.stack(resized)) / 127.5 - 1).transpose(0, 1)


def area(pictures: Pictures, side: int) -> Tensor:
    """Stretched by averaging over what each pixel covers, rounded to bytes: [3, T, side, side] in -1..1."""
    shrunk = F.interpolate(planes(pictures), (side, side), mode="area")
    return (shrunk.round() / 255 * 2 - 1).transpose(0, 1)
