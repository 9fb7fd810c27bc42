"""A small writer of SVG, and its rasteriser.

Coordinates are pixels of the 512 by 512 picture. resvg is a renderer without system libraries or fonts and gives the
same pixels wherever it runs.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import resvg_py
from PIL import Image

SIZE = 512
Stop = tuple[float, str] | tuple[float, str, float]
"""(offset 0..1, colour, opacity 1)."""


class Box(NamedTuple):
    """A part of the picture: left, top, width, height in pixels."""

    x: int
    y: int
    width: int
    height: int


PICTURE = Box(0, 0, SIZE, SIZE)


def number(value: float) -> str:
    return f"{value:g}"


def points(template: str, *values: float) -> str:
    """A path written with ``_`` for each number: ``points("M _ _ L _ _", 0, 0, 10, 5)``."""
    parts = template.split("_")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{template!r} has room for {len(parts) - 1} numbers, not {len(values)}")
    return "".join(part + number(value) for part, value in zip(parts, values, strict=False)) + parts[-1]


class Drawing:
    """Shapes painted one over the other."""

    def __init__(self) -> None:
        self._defs: list[str] = []
        self._body: list[str] = []
        self._ids = 0

    def _define(self, template: str) -> str:
        self._ids += 1
        name = f"d{self._ids}"
        self._defs.append(template.replace("ID", name, 1))
        return name

    @staticmethod
    def _stops(stops: Sequence[Stop]) -> str:
        opaque = (1.0,)
        return "".join(
            f'<stop offset="{number(offset)}" stop-color="{colour}" stop-opacity="{number((*opacity, *opaque)[0])}"/>'
            for offset, colour, *opacity in stops
        )

    def linear(self, x1: float, y1: float, x2: float, y2: float, *stops: Stop) -> str:
        """A gradient from one point to another, to be used as ``fill`` or ``stroke``."""
        ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
        name = self._define(
            f'<linearGradient id="ID" gradientUnits="userSpaceOnUse" {ends}>{self._stops(stops)}</linearGradient>'
        )
        return f"url(#{name})"

    def radial(self, cx: float, cy: float, rx: float, ry: float, *stops: Stop, tilt: float = 0.0) -> str:
        """A gradient from the centre of an ellipse outwards; ``tilt`` in degrees."""
        turn = f"translate({number(cx)} {number(cy)}) rotate({number(tilt)}) scale({number(rx)} {number(ry)})"
        name = self._define(
            f'<radialGradient id="ID" gradientUnits="userSpaceOnUse" cx="0" cy="0" r="1" gradientTransform="{turn}">'
            f"{self._stops(stops)}</radialGradient>"
        )
        return f"url(#{name})"

    def clip(self, *paths: str) -> str:
        shapes = "".join(f'<path d="{path}"/>' for path in paths)
        name = self._define(f'<clipPath id="ID">{shapes}</clipPath>')
        return f"url(#{name})"

    def _blur(self, d: str, deviation: float, width: float) -> str:
        """A blur whose region just holds the shape: resvg's time grows with the region."""
        values = [float(value) for value in re.findall(r"-?[\d.]+", d)]
        margin = 3 * deviation + width
        left, top = min(values[::2]) - margin, min(values[1::2]) - margin
        right, bottom = max(values[::2]) + margin, max(values[1::2]) + margin
        region = f'x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}"'
        blur = f'<feGaussianBlur stdDeviation="{number(deviation)}"/>'
        return self._define(f'<filter id="ID" filterUnits="userSpaceOnUse" {region}>{blur}</filter>')

    @contextlib.contextmanager
    def group(self, *, clip: str = "", opacity: float = 1.0, transform: str = "") -> Iterator[None]:
        attributes = [
            *([f'clip-path="{clip}"'] if clip else []),
            *([f'opacity="{number(opacity)}"'] if opacity != 1 else []),
            *([f'transform="{transform}"'] if transform else []),
        ]
        self._body.append(f"<g {' '.join(attributes)}>")
        yield
        self._body.append("</g>")

    def mirrored(self) -> contextlib.AbstractContextManager[None]:
        """What is drawn inside appears flipped about the picture's vertical middle."""
        return self.group(transform=f"translate({SIZE} 0) scale(-1 1)")

    def path(
        self,
        d: str,
        fill: str = "none",
        *,
        stroke: str = "",
        width: float = 1.0,
        opacity: float = 1.0,
        blur: float = 0.0,
        even_odd: bool = False,
    ) -> None:
        """``blur``: standard deviation in pixels; ``d`` then holds absolute commands with pairs of numbers only."""
        attributes = [f'd="{d}"', f'fill="{fill}"']
        if stroke:
            attributes.append(
                f'stroke="{stroke}" stroke-width="{number(width)}" stroke-linecap="round" stroke-linejoin="round"'
            )
        if opacity != 1:
            attributes.append(f'opacity="{number(opacity)}"')
        if blur:
            attributes.append(f'filter="url(#{self._blur(d, blur, width)})"')
        if even_odd:
            attributes.append('fill-rule="evenodd"')
        self._body.append(f"<path {' '.join(attributes)}/>")

    def ellipse(
        self,
        cx: float,
        cy: float,
        rx: float,
        ry: float,
        fill: str = "none",
        *,
        stroke: str = "",
        width: float = 1.0,
        opacity: float = 1.0,
        tilt: float = 0.0,
    ) -> None:
        extra = f' stroke="{stroke}" stroke-width="{number(width)}"' if stroke else ""
        extra += f' opacity="{number(opacity)}"' if opacity != 1 else ""
        extra += f' transform="rotate({number(tilt)} {number(cx)} {number(cy)})"' if tilt else ""
        self._body.append(
            f'<ellipse cx="{number(cx)}" cy="{number(cy)}" rx="{number(rx)}" ry="{number(ry)}" fill="{fill}"{extra}/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, radius: float = 0.0, opacity: float = 1.0
    ) -> None:
        self._body.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
            f'rx="{number(radius)}" fill="{fill}" opacity="{number(opacity)}"/>'
        )

    def rasterise(self, box: Box = PICTURE, *, shrink: int = 1) -> Image.Image:
        """The pixels inside ``box``, RGBA; one for every ``shrink`` of the drawing's in each direction."""
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{box.width // shrink}" height="{box.height // shrink}" '
            f'viewBox="{box.x} {box.y} {box.width} {box.height}"><defs>{"".join(self._defs)}</defs>'
            f"{''.join(self._body)}</svg>"
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
        return Image.open(io.BytesIO(png)).convert("RGBA")
