"""A figure in motion: everything costly is drawn once and kept, each frame only pastes and warps it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from interbench.domain.persona import Look, Persona
from interbench.systems.puppet.figure import accessories, backdrops, clothes, hair, head
from interbench.systems.puppet.figure.anatomy import CX, Anatomy
from interbench.systems.puppet.figure.features import (
    BROWS_BOX,
    EYES_BOX,
    MOUTH_BOX,
    Brows,
    Eyes,
    Mouth,
    draw_brows,
    draw_eyes,
    draw_mouth,
    mouth_drop,
)
from interbench.systems.puppet.figure.svg import PICTURE, SIZE, Box, Drawing

BREATH_RISE = 2.4
"""How far shoulders rise with a breath, in pixels."""
_TOP_BOX = Box(182, 172, 148, 78)
"""Eyes and brows, over which a fringe or glasses may lie."""
_MARGIN = 16
_PIVOT_Y = 352.0
_Drawn = TypeVar("_Drawn")
_Patch = tuple[tuple[int, int, int, int], tuple[float, ...]]
"""A rectangle of the result and the corners of its source: upper left, lower left, lower right, upper right."""
_CLOSED, _STRAIGHT, _LEVEL = Mouth(), Eyes(), Brows()


@dataclass(frozen=True, slots=True)
class Pose:
    """One frame. Offsets in pixels, ``tilt`` in degrees; ``yaw`` and ``pitch`` -1..1 turn the face, right and down."""

    mouth: Mouth = _CLOSED
    eyes: Eyes = _STRAIGHT
    brows: Brows = _LEVEL
    breath: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    tilt: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    scale: float = 1.0


class _Sprite(NamedTuple):
    """Premultiplied pixels, and where they cover what lies below."""

    pixels: Image.Image
    mask: Image.Image
    at: tuple[int, int]


class FigurePainter:
    """Draws one persona. Not thread-safe; the same poses give the same pixels whatever was drawn before."""

    def __init__(self, persona: Persona, look: Look) -> None:
        self._anatomy = a = Anatomy.of(persona, look)
        self._kept: dict[Hashable, object] = {}
        self._behind = _rasterise(lambda d: hair.draw_behind(d, a), PICTURE)
        self._face = _rasterise(lambda d: head.draw_head(d, a, hair.shadows(a)), PICTURE)
        self._front = _rasterise(lambda d: _draw_front(d, a), PICTURE)
        whole = Image.alpha_composite(Image.alpha_composite(self._behind, self._face), self._front)
        left, top, right, bottom = whole.getbbox() or (0, 0, SIZE, SIZE)
        left, top = max(0, left - _MARGIN), max(0, top - _MARGIN)
        right, bottom = min(SIZE, right + _MARGIN), min(SIZE, bottom + _MARGIN)
        self._box = Box(left, top, right - left, bottom - top)
        self._grid = _grid(self._box)
        self._cells = _covered(whole, self._grid)
        self._fronts = self._front_parts()
        self._backdrop = backdrops.render(look)
        self._body = _rasterise(lambda d: clothes.draw_body(d, a), PICTURE)

    def frame(self, pose: Pose) -> Image.Image:
        """The picture, RGB, 512 by 512."""
        canvas = self._breathing(round(pose.breath * BREATH_RISE * 4)).copy()
        local = self._head(round(mouth_drop(pose.mouth))).copy()
        for sprite in (self._mouth(pose.mouth), self._brows(pose.brows), self._eyes(pose.eyes), *self._fronts):
            local.paste(sprite.pixels, sprite.at, sprite.mask)
        mesh = _mesh(self._grid, self._box, self._cells, pose)
        size = (self._box.width, self._box.height)
        warped = local.transform(size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR).convert("RGBA")
        canvas.paste(warped, (self._box.x, self._box.y), warped)
        return canvas

    def _keep(self, key: Hashable, draw: Callable[[], _Drawn]) -> _Drawn:
        if key not in self._kept:
            self._kept[key] = draw()
        return self._kept[key]  # type: ignore[return-value]

    def _front_parts(self) -> tuple[_Sprite, ...]:
        """What of fringe and glasses lies over moving features."""
        parts = ((self._front.crop(_corners(box)), box) for box in (_TOP_BOX, MOUTH_BOX))
        return tuple(self._sprite(part, box) for part, box in parts if part.getbbox())

    def _feature(self, draw: Callable[[Drawing], None], box: Box) -> _Sprite:
        return self._sprite(_rasterise(draw, box), box)

    def _sprite(self, pixels: Image.Image, box: Box) -> _Sprite:
        """What is painted onto the face, which is opaque there: so its own alpha is full and the mask does the rest."""
        bounds = pixels.getbbox() or (0, 0, 1, 1)
        pixels = pixels.crop(bounds)
        opaque = np.asarray(pixels.convert("RGBa").convert("RGBA")).copy()
        opaque[..., 3] = 255
        at = (box.x + bounds[0] - self._box.x, box.y + bounds[1] - self._box.y)
        return _Sprite(_premultiplied(opaque), pixels.getchannel("A"), at)

    def _head(self, drop: int) -> Image.Image:
        def draw() -> Image.Image:
            face = self._face.crop(_corners(self._box))
            face = face.transform(face.size, Image.Transform.MESH, self._stretch(drop), Image.Resampling.BILINEAR)
            bare = Image.alpha_composite(self._behind.crop(_corners(self._box)), face)
            whole = Image.alpha_composite(bare, self._front.crop(_corners(self._box)))
            for box in (_TOP_BOX, MOUTH_BOX):
                x, y = box.x - self._box.x, box.y - self._box.y
                corners = (x, y, x + box.width, y + box.height)
                whole.paste(bare.crop(corners), corners)
            return whole.convert("RGBa")

        return self._keep(("head", drop), draw)

    def _stretch(self, drop: int) -> list[_Patch]:
        """Strips of the face that make the chin sink: none above the lips, all of it below the lower lip."""
        edges = [0.0, *(float(y - self._box.y) for y in range(288, 331, 6)), float(self._box.height)]

        def source(y: float) -> float:
            share = min(1.0, max(0.0, (y + self._box.y - 288) / 42))
            return y - drop * share * share * (3 - 2 * share)

        width = self._box.width
        return [
            ((0, int(top), width, int(low)), (0, source(top), 0, source(low), width, source(low), width, source(top)))
            for top, low in itertools.pairwise(edges)
        ]

    def _breathing(self, step: int) -> Image.Image:
        def draw() -> Image.Image:
            shift = (1, 0, 0, 0, 1, step / 4)
            body = self._body.transform((SIZE, SIZE), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
            # The rows that rise into the picture from below repeat the last one.
            body.paste(self._body.crop((0, SIZE - 1, SIZE, SIZE)).resize((SIZE, 4)), (0, SIZE - 4))
            return Image.alpha_composite(self._backdrop, body).convert("RGB")

        return self._keep(("body", step), draw)

    def _mouth(self, mouth: Mouth) -> _Sprite:
        exact = Mouth(
            open=_step(mouth.open, 12),
            spread=_step(mouth.spread, 3),
            smile=_step(mouth.smile, 3),
            press=_step(mouth.press, 1),
            tuck=_step(mouth.tuck, 1),
            teeth=_step(mouth.teeth, 2),
            tongue=_step(mouth.tongue, 1) if mouth.open > 0.1 else 0.0,
        )
        return self._keep(exact, lambda: self._feature(lambda d: draw_mouth(d, self._anatomy, exact), MOUTH_BOX))

    def _eyes(self, eyes: Eyes) -> _Sprite:
        open_ = eyes.lid > 0.12
        exact = Eyes(
            lid=_step(eyes.lid, 8),
            squint=_step(eyes.squint, 3),
            gaze_x=_step(eyes.gaze_x, 1) if open_ else 0.0,
            gaze_y=_step(eyes.gaze_y, 1) if open_ else 0.0,
        )
        return self._keep(exact, lambda: self._feature(lambda d: draw_eyes(d, self._anatomy, exact), EYES_BOX))

    def _brows(self, brows: Brows) -> _Sprite:
        exact = Brows(lift=_step(brows.lift, 8), inner=_step(brows.inner, 4))
        return self._keep(exact, lambda: self._feature(lambda d: draw_brows(d, self._anatomy, exact), BROWS_BOX))


def _rasterise(draw: Callable[[Drawing], None], box: Box) -> Image.Image:
    d = Drawing()
    draw(d)
    return d.rasterise(box)


def _draw_front(d: Drawing, a: Anatomy) -> None:
    hair.draw_front(d, a)
    accessories.draw_earrings(d, a)
    accessories.draw_glasses(d, a)


def _corners(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _step(value: float, steps: int) -> float:
    return round(value * steps) / steps


def _premultiplied(rgba: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(rgba, "RGBA").convert("RGBa")


def _grid(box: Box) -> npt.NDArray[np.float64]:
    """Corners of the warp's cells in picture coordinates, shape (rows, columns, 2)."""
    columns = np.linspace(0, box.width, 5).round() + box.x
    rows = np.linspace(0, box.height, 7).round() + box.y
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def _covered(whole: Image.Image, grid: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Rows and columns of the cells that hold any of the head, wherever it may have moved."""
    corners = grid.astype(int)
    return [
        (row, column)
        for row in range(len(corners) - 1)
        for column in range(len(corners[0]) - 1)
        if whole.crop((*(corners[row, column] - _MARGIN), *(corners[row + 1, column + 1] + _MARGIN))).getbbox()
    ]


def _mesh(grid: npt.NDArray[np.float64], box: Box, cells: list[tuple[int, int]], pose: Pose) -> list[_Patch]:
    """Where each cell of the warped head comes from: a turn about the neck, and a dome that turns the face in depth."""
    x, y = grid[..., 0], grid[..., 1]
    angle = math.radians(pose.tilt)
    cos, sin = math.cos(angle) / pose.scale, math.sin(angle) / pose.scale
    px, py = x - CX - pose.dx, y - _PIVOT_Y - pose.dy + pose.breath * BREATH_RISE
    rigid_x, rigid_y = cos * px + sin * py + CX, -sin * px + cos * py + _PIVOT_Y
    # Hair and scarf that lie on the shoulders stay there.
    loose = np.clip((412.0 - y) / 66.0, 0.0, 1.0)
    depth = np.clip(1.0 - ((x - CX) / 98.0) ** 2 - ((y - 238.0) / 138.0) ** 2, 0.0, 1.0)
    source_x = x + loose * (rigid_x - x) - pose.yaw * 8.0 * depth - box.x
    source_y = y + loose * (rigid_y - y) - pose.pitch * 7.0 * depth - box.y
    source = np.stack([source_x, source_y], axis=-1)
    corners = np.concatenate([source[:-1, :-1], source[1:, :-1], source[1:, 1:], source[:-1, 1:]], axis=-1).tolist()
    target = (grid - (box.x, box.y)).astype(int).tolist()
    return [
        ((*target[row][column], *target[row + 1][column + 1]), tuple(corners[row][column])) for row, column in cells
    ]
