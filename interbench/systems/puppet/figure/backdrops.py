"""Places behind the figure, out of focus."""

from __future__ import annotations

from PIL import Image

from interbench.personas import Look
from interbench.systems.puppet.figure.svg import Drawing


def render(look: Look) -> Image.Image:
    d = Drawing()
    d.rect(0, 0, 512, 512, look.backdrop_colour)
    return d.rasterise()
