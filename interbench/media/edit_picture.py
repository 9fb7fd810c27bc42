"""What edits do to a picture, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from interbench.stats.colour import lab_of, srgb_of

_LUT = 17
LETTERS = {"large": 0.06, "small": 0.022, "caption": 0.036}
"""Size of the letters as a share of the picture's height."""
_LEAST_LETTERS = 8
"""Pixels: what is smaller is no letter any more."""
LEAST_SEEN = 3.0
"""Standard deviation of a picture's levels below which nothing is to be seen in it."""
Change = Callable[[Image.Image], Image.Image]


def letter_size(how: str, height: int) -> int:
    """Size of the letters of a ``write`` edit in pixels, in a picture of this height."""
    return max(_LEAST_LETTERS, round(LETTERS[how] * height))


def change_of(op: str, value: float, text: str) -> Change | None:
    """What is done to every frame; None if nothing."""
    if op == "grade":
        table = _graded(value)
        return lambda image: image.filter(table)
    if op == "zoom":
        return lambda image: _zoomed(image, value)
    if op == "range":
        levels = [max(0, min(255, round((v - 128) * value + 128))) for v in range(256)] * 3
        return lambda image: image.point(levels)
    if op == "blank":
        return lambda image: Image.new("RGB", image.size)
    if op.startswith("write-"):
        return _written(text, op.removeprefix("write-"))
    return None


def _graded(delta_e: float) -> ImageFilter.Color3DLUT:
    """Warmer and lighter: every colour moves by ``delta_e`` in CIELAB, as far as sRGB reaches."""
    axis = np.linspace(0.0, 1.0, _LUT)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    lab = lab_of(np.stack([red, green, blue], axis=-1))
    # Towards the middle where there is no more room above.
    sign = np.where(lab[..., :1] > 55, -1.0, 1.0)
    shifted = lab + delta_e * np.concatenate(
        [0.45 * sign, 0.2 * np.ones_like(sign), 0.87 * np.ones_like(sign)], axis=-1
    )
    return ImageFilter.Color3DLUT(_LUT, srgb_of(shifted).reshape(-1, 3).ravel().tolist())


def _zoomed(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.width / factor, image.height / factor
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _written(text: str, how: str) -> Change:
    """White letters on a dark ground, drawn once and laid over every frame."""
    laid: dict[tuple[int, int], tuple[Image.Image, Image.Image]] = {}

    def change(image: Image.Image) -> Image.Image:
        if image.size not in laid:
            laid[image.size] = _lettering(text, how, image.size)
        over, mask = laid[image.size]
        return Image.composite(over, image, mask)

    return change


def _lettering(text: str, how: str, shape: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """What is laid over a picture of this shape, and how much of it is seen where."""
    wide, high = shape
    over, mask = Image.new("RGB", shape), Image.new("L", shape)
    ink, seen = ImageDraw.Draw(over), ImageDraw.Draw(mask)
    size = letter_size(how, high)
    font = ImageFont.load_default(size)
    lines = _lines(text, lambda line: ink.textlength(line, font=font), 0.92 * wide)
    height = round(1.3 * size)
    top = high - height * len(lines) - size if how == "caption" else round(0.03 * high)
    for number, line in enumerate(lines):
        width = ink.textlength(line, font=font)
        x, y = (wide - width) / 2, top + number * height
        seen.rectangle((x - size / 3, y, x + width + size / 3, y + height), fill=170)
        seen.text((x, y), line, font=font, fill=255)
        ink.text((x, y), line, font=font, fill=(255, 255, 255))
    return over, mask


def _lines(text: str, width: Callable[[str], float], most: float) -> list[str]:
    lines = [""]
    # The built-in letters have no others than these; what is drawn must be the same on every machine.
    for word in text.encode("latin-1", "replace").decode("latin-1").split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer) > most:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
