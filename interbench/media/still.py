"""Still pictures of people: what is accepted as a portrait."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from interbench.media.files import FileView, MediaFaultError

MAX_BYTES = 20 * 2**20
MAX_SIDE = 8192
"""Pixels."""


def portrait_problem(source: Path | FileView, size: int) -> str:
    """What is wrong with an image of ``size`` bytes, as a clause; empty if nothing. Decodes all of it."""
    from PIL import Image

    if size > MAX_BYTES:
        return f"is larger than {MAX_BYTES >> 20} MB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as image:  # type: ignore[arg-type]
                if max(image.size) > MAX_SIDE:
                    return f"is {image.width}×{image.height} pixels; at most {MAX_SIDE} a side"
                image.load()
    except Exception as error:
        # Pillow's decoders raise many kinds of exceptions for broken files. A file without a name has an address.
        told = str(error).partition(" <")[0] if isinstance(source, FileView) else str(error)
        return f"can't be decoded as PNG, JPEG or WebP: {told}"
    return ""


def portrait(file: FileView) -> dict[str, Any]:
    """Decode a portrait; gives nothing.

    Raises:
        MediaFaultError: it can't be used.
    """
    if problem := portrait_problem(file, file.size):
        raise MediaFaultError("undecodable", f"it {problem}.")
    return {}


def picture(file: FileView, out: Path, width: int, height: int) -> dict[str, Any]:
    """Write a portrait's pixels to ``out``: sRGB bytes ``[height, width, 3]``, cut to that shape round its middle.

    Raises:
        MediaFaultError: it can't be used.
    """
    from PIL import Image, ImageOps

    portrait(file)
    file.seek(0)
    with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:  # type: ignore[arg-type]
        upright = ImageOps.exif_transpose(image).convert("RGB")
        fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    out.write_bytes(fitted.tobytes())
    return {}
