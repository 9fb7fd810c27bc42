"""Reference images at exactly the size a service asks for."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from PIL import Image, ImageOps

from interbench.base.errors import InterbenchError

_MAX_PIXELS = 64_000_000


class ReferenceImageError(InterbenchError):
    """A portrait can't be used."""


def fitted_png(path: Path, size: tuple[int, int]) -> bytes:
    """The image at ``path`` as PNG of exactly ``size`` (width, height) in pixels.

    It is scaled until it covers the frame and cropped in the middle, so that nothing is stretched and no border
    appears; transparent parts become white.

    Raises:
        ReferenceImageError: the file is missing, damaged, too large, or no image.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _fitted(path, size, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=16)
def _fitted(path: Path, size: tuple[int, int], state: tuple[int, int]) -> bytes:
    """Kept: a persona's portrait goes with every turn, and packing its pixels takes a fifth of a second of a processor.
    ``state`` is another when the file is."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ReferenceImageError(
                    f"The portrait {path.name} has {image.width}x{image.height} pixels; scale it down."
                )
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    canvas = Image.new("RGBA", upright.size, "white")
    flat = Image.alpha_composite(canvas, upright).convert("RGB")
    sink = io.BytesIO()
    ImageOps.fit(flat, size, Image.Resampling.LANCZOS).save(sink, "PNG")
    return sink.getvalue()


def _unreadable(path: Path, error: Exception) -> ReferenceImageError:
    return ReferenceImageError(
        f"The portrait {path.name} can't be read as an image ({type(error).__name__}); give the persona another."
    )
