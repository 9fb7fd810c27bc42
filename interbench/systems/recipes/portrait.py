"""The persona's reference image as the PNG that every recipe is given."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image, ImageOps

from interbench.systems.recipes.lane import RenderError

_MOST_PIXELS = 64_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def write_png(source: Path, target: Path) -> None:
    """Copy a PNG as it is; make one of anything else, upright, on white.

    Raises:
        RenderError: the file is missing, damaged, too large, or no image.
    """
    try:
        with source.open("rb") as file:
            if file.read(len(_PNG)) == _PNG:
                shutil.copyfile(source, target)
                return
        with Image.open(source) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise RenderError(
                    "portrait", f"the portrait {source.name} has {image.width}x{image.height} pixels; scale it down"
                )
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RenderError(
            "portrait",
            f"the portrait {source.name} can't be read as an image ({type(error).__name__}); give the persona another",
        ) from None
    canvas = Image.new("RGBA", upright.size, "white")
    Image.alpha_composite(canvas, upright).convert("RGB").save(target, "PNG")
