"""The picture as the model saw pictures in training: cropped to a fixed size, in [-1, 1] (spec section 3)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from livetalk.base.errors import ImageError

PictureSize = tuple[int, int]

RELEASED_SIZES: tuple[PictureSize, ...] = ((512, 512),)

MAX_PIXELS = 89_000_000
"""Pixels of the largest picture decoded, and of the largest one made by resizing before the crop: just under the count
at which Pillow itself begins to warn. A 48-megapixel photograph passes; a file that unfolds to gigabytes, or a strip
whose short side would have to grow a hundredfold, does not."""


def preprocess(
    image: Image.Image | Path | str | bytes, sizes: Sequence[PictureSize] = RELEASED_SIZES, *, middle: float = 1.0
) -> Tensor:
    """Crop and scale one picture for the VAE.

    Transparent parts are laid on white, an EXIF orientation is applied, 16-bit greyscale is brought to 8 bits, and of
    an animation the first frame is used.

    Args:
        image: a picture, the path of one, or the bytes of an image file.
        sizes: allowed (height, width) pairs; the one nearest in shape is chosen (``select_size``).
        middle: share of the picture's height and width that is looked at, around its middle.

    Returns:
        float32 [1, 3, 1, H, W] in [-1, 1].

    Raises:
        ImageError: unreadable, damaged, too large, or far too elongated.
    """
    picture = _to_rgb(image if isinstance(image, Image.Image) else _open(image))
    if middle < 1:
        size = (max(1, round(middle * picture.width)), max(1, round(middle * picture.height)))
        left, top = ((whole - part) // 2 for whole, part in zip(picture.size, size, strict=True))
        picture = picture.crop((left, top, left + size[0], top + size[1]))
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1).unsqueeze(0) / 255.0
    height, width = pixels.shape[-2:]
    target = select_size(height, width, sizes)
    resized = resized_size(height, width, target)
    if resized[0] * resized[1] > MAX_PIXELS:
        raise ImageError(
            f"The picture is {width} x {height} pixels: to fill {target[1]} x {target[0]} it would have to be enlarged "
            f"to {resized[1]} x {resized[0]} first. Crop it to roughly the shape of the video."
        )
    if resized != (height, width):
        pixels = F.interpolate(pixels, size=resized, mode="bilinear", antialias=True, align_corners=False)
    return _centre(pixels, target).mul(2.0).sub(1.0).unsqueeze(2)


def select_size(height: int, width: int, sizes: Sequence[PictureSize]) -> PictureSize:
    """The first size whose shape is nearest to the picture's (spec 3.2).

    A later size of exactly the same shape replaces the chosen one only if its long side is also exactly as far from the
    picture's long side: the release compares with the distance stored at the last strictly better shape.
    """
    if not sizes:
        raise ValueError("sizes is empty")
    best_shape, best_side = math.inf, math.inf
    chosen = sizes[0]
    for size in sizes:
        shape = abs(size[0] / size[1] - height / width)
        side = abs(max(size) - max(height, width))
        if shape < best_shape:
            best_shape, best_side, chosen = shape, side, size
        elif shape == best_shape and side == best_side:
            chosen = size
    return chosen[0], chosen[1]


def resized_size(height: int, width: int, target: PictureSize) -> PictureSize:
    """Size after scaling the picture to cover ``target``, truncated, so that rounding can leave it one pixel short."""
    scale = max(target[0] / height, target[1] / width)
    return int(height * scale), int(width * scale)


def _centre(pixels: Tensor, target: PictureSize) -> Tensor:
    """Crop [1, 3, h, w] to the target, or pad with zeros where truncation left a pixel missing.

    An odd surplus row or column is taken from the top or left, a missing one is added at the bottom or right: both
    follow from flooring half of a difference that may be negative.
    """
    rows, columns = target[0] - pixels.shape[-2], target[1] - pixels.shape[-1]
    top, left = rows // 2, columns // 2
    return F.pad(pixels, (left, columns - left, top, rows - top))


def _open(source: Path | str | bytes) -> Image.Image:
    named = "The picture" if isinstance(source, bytes) else f"The picture {str(source)!r}"
    if isinstance(source, bytes):
        stream = io.BytesIO(source)
    else:
        try:
            stream = io.BytesIO(Path(source).read_bytes())
        except OSError as error:
            raise ImageError(f"{named} can't be read: {error.strerror}.") from error
    try:
        picture = Image.open(stream)
        _check_pixels(picture)
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{named} is larger than {MAX_PIXELS // 1_000_000} megapixels; scale it down first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{named} is not an image in a known format (PNG, JPEG, WebP and others are).") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{named} is damaged or cut short: {error}.") from error
    return picture


def _check_pixels(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise ImageError(
            f"The picture is {picture.width} x {picture.height} pixels, more than {MAX_PIXELS // 1_000_000} "
            "megapixels; scale it down first."
        )
    if not picture.width or not picture.height:
        raise ImageError("The picture has no pixels.")


def _to_rgb(picture: Image.Image) -> Image.Image:
    _check_pixels(picture)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_grey(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def _deep_grey(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greyscale: Pillow's own conversion would clip at 255 instead of scaling."""
    values = np.asarray(picture, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not (0.0 <= low <= high <= 65535.0):
        raise ImageError("The greyscale picture has values outside 0 to 65535; save it as an 8- or 16-bit image.")
    if picture.mode.startswith("I;16"):
        full_scale = 65535.0
    elif picture.mode == "F" and high <= 1.0:
        full_scale = 1.0
    else:
        full_scale = 255.0 if high <= 255.0 else 65535.0
    return Image.fromarray((values * (255.0 / full_scale)).astype(np.uint8)).convert("RGB")
