"""Places behind the figure, out of focus."""

# fmt: off
from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageFilter

from interbench.domain.persona import Backdrop, Look
from interbench.systems.puppet.figure.palette import darker, lighter, mix, turned
from interbench.systems.puppet.figure.svg import SIZE, Drawing, number, points

_WOOD = "#a5784e"
_LEAF = "#5d8a58"
_BOOKS = ("#9c4a3c", "#3f5f7f", "#c79a4b", "#5d7f68", "#6d4f78", "#d8cdb9", "#34495c", "#b5654d", "#7d8b5a",
    "#8f8577")


def render(look: Look) -> Image.Image:
    """The place, RGBA, blurred as by a lens that looks at the figure."""
    d = Drawing()
    blur = PLACES[look.backdrop](d, look.backdrop_colour)
    _light(d)
    # What is blurred needs no more than half the pixels.
    half = d.rasterise(shrink=2).convert("RGB").filter(ImageFilter.GaussianBlur(blur / 2))
    return half.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGBA")


def _light(d: Drawing) -> None:
    """A glow from the upper left and a darker rim, which hold the eye on the figure."""
    d.rect(0, 0, SIZE, SIZE, d.radial(120, 60, 420, 380, (0, "#fff4dc", 0.34), (1, "#fff4dc", 0)))
    d.rect(0, 0, SIZE, SIZE, d.radial(250, 230, 400, 400, (0.3, "#201a1c", 0), (0.65, "#201a1c", 0.09),
        (1, "#201a1c", 0.34)))


def _wall(d: Drawing, colour: str) -> None:
    d.rect(0, 0, SIZE, SIZE, d.linear(0, 0, 512, 512, (0, lighter(colour, 0.24)), (0.5, colour),
        (1, darker(colour, 0.22))))


def _plain(d: Drawing, colour: str) -> float:
    _wall(d, colour)
    d.rect(0, 0, SIZE, SIZE, d.radial(256, 220, 260, 280, (0, lighter(colour, 0.5), 0.8), (1, colour, 0)))
    return 1.0


def _books(d: Drawing, rng: random.Random, left: float, right: float, floor: float, height: float) -> None:
    x = left
    while x < right - 7:
        width = rng.uniform(8, 18)
        if rng.random() < 0.09:
            x += rng.uniform(8, 22)
            continue
        width = min(width, right - x)
        tall = height * rng.uniform(0.66, 0.95)
        colour = mix(rng.choice(_BOOKS), "#8d8377", rng.uniform(0, 0.35))
        d.rect(x, floor - tall, width - 1, tall, d.linear(x, 0, x + width, 0, (0, lighter(colour, 0.12)),
            (1, darker(colour, 0.4))), radius=1)
        if rng.random() < 0.5:
            d.rect(x + 1, floor - tall * 0.82, width - 3, 3, lighter(colour, 0.5), opacity=0.7)
        x += width


def _shelf(d: Drawing, left: float, right: float, floor: float) -> None:
    d.rect(left, floor, right - left, 9, d.linear(0, floor, 0, floor + 9, (0, lighter(_WOOD, 0.25)),
        (1, darker(_WOOD, 0.4))))
    d.rect(left, floor + 9, right - left, 8, d.linear(0, floor + 9, 0, floor + 17, (0, "#20150e", 0.4),
        (1, "#20150e", 0)))


def _plant(d: Drawing, x: float, y: float, size: float, rng: random.Random, leaf: str = _LEAF) -> None:
    """Leaves that fan out from a pot's mouth at (x, y)."""
    for _ in range(17):
        reach = size * rng.uniform(0.6, 1.0)
        lean = rng.uniform(-0.95, 0.95)
        tip_x, tip_y = x + lean * reach, y - reach * (1.08 - abs(lean) * 0.6)
        bend = size * 0.13 * rng.choice((-1, 1))
        tone = mix(leaf, rng.choice(("#2f5a3c", "#8fae5d", "#41704a")), rng.uniform(0.1, 0.7))
        d.path(points("M _ _ Q _ _ _ _ Q _ _ _ _ Z", x, y, x + lean * reach * 0.2 + bend, y - reach * 0.7, tip_x,
            tip_y,
            x + lean * reach * 0.7 - bend, y - reach * 0.35, x, y), tone)
    pot = "#c98a62"
    shape = points("M _ _ L _ _ L _ _ L _ _ Z", x - size * 0.3, y - 2, x + size * 0.3, y - 2, x + size * 0.22,
        y + size * 0.46,
        x - size * 0.22, y + size * 0.46)
    d.path(shape, d.linear(x - size * 0.3, 0, x + size * 0.3, 0, (0, lighter(pot, 0.25)), (1, darker(pot, 0.4))))


def _lamp_glow(d: Drawing, x: float, y: float, radius: float, strength: float = 0.6) -> None:
    d.ellipse(x, y, radius, radius, d.radial(x, y, radius, radius, (0, "#ffe9b8", strength), (1, "#ffe9b8", 0)))


def _pane(d: Drawing, x: float, y: float, width: float, height: float, frame: str) -> None:
    """A window onto sky and trees."""
    d.rect(x, y, width, height, d.linear(0, y, 0, y + height, (0, "#bfe0f3"), (0.55, "#e8f3ee"), (1, "#d7e6c4")))
    rng = random.Random(int(x + y))  # noqa: S311 - decoration
    clip = d.clip(f"M {number(x)} {number(y)} h {number(width)} v {number(height)} h {number(-width)} Z")
    with d.group(clip=clip):
        for _ in range(26):
            cx, cy = x + rng.uniform(0, width), y + height * rng.uniform(0.55, 1.05)
            size = rng.uniform(16, 34)
            d.ellipse(cx, cy, size, size * 0.9, mix("#7fae6a", rng.choice(("#5d8a58", "#a9c77d", "#8bb99a")),
                rng.random()), opacity=0.75)
    d.rect(x - 6, y - 6, width + 12, 7, frame)
    d.rect(x - 6, y + height - 1, width + 12, 9, darker(frame, 0.15))
    for px in (x - 6, x + width / 2 - 3, x + width - 1):
        d.rect(px, y - 6, 7, height + 12, frame)
    d.rect(x, y + height * 0.42, width, 5, frame)


def _office(d: Drawing, colour: str) -> float:
    _wall(d, colour)
    d.rect(14, 36, 178, 250, d.linear(0, 36, 0, 286, (0, "#dcecf4"), (1, "#f4f5ee")))
    for index in range(19):
        y = 38 + index * 13
        d.rect(14, y, 178, 8.5, d.linear(0, y, 0, y + 9, (0, "#ffffff"), (1, "#cfd6d8")), opacity=0.92)
    d.rect(8, 30, 190, 9, "#f3f1ec")
    rng = random.Random(21)  # noqa: S311 - decoration
    for floor in (128, 224):
        _books(d, rng, 340, 446, floor, 62)
        _shelf(d, 332, 512, floor)
    _plant(d, 478, 112, 34, rng)
    d.rect(456, 168, 44, 56, "#e9e4da")
    d.rect(461, 173, 34, 46, d.linear(461, 173, 495, 219, (0, mix(colour, "#e2a35a", 0.7)),
        (1, mix(colour, "#2f5a7a", 0.7))))
    d.rect(0, 402, 512, 120, d.linear(0, 402, 0, 512, (0, lighter(_WOOD, 0.3)), (1, darker(_WOOD, 0.3))))
    d.rect(30, 316, 112, 76, "#2d3338", radius=5)
    d.rect(36, 322, 100, 64, d.linear(36, 322, 136, 386, (0, "#6d96b3"), (1, "#32506b")))
    d.rect(80, 392, 12, 14, "#3a4045")
    _plant(d, 452, 400, 54, rng)
    return 4.0


def _bookshelf(d: Drawing, colour: str) -> float:
    _wall(d, darker(_WOOD, 0.5))
    rng = random.Random(8)  # noqa: S311 - decoration
    for row, floor in enumerate((84, 184, 284, 384, 484)):
        d.rect(0, floor - 92, 512, 92, d.linear(0, floor - 92, 0, floor, (0, darker(_WOOD, 0.72)),
            (1, darker(_WOOD, 0.5))))
        for column, (left, right) in enumerate(((8, 122), (134, 250), (262, 378), (390, 504))):
            if (row, column) in ((1, 0), (2, 3)):
                _plant(d, (left + right) / 2, floor - 24, 44, rng)
            elif (row, column) == (0, 2):
                _lamp_glow(d, 320, 40, 70)
                d.ellipse(320, 54, 22, 26, d.radial(314, 46, 28, 30, (0, "#fff3d2"), (1, "#e0a85a")))
            else:
                _books(d, rng, left, right, floor, 84)
        _shelf(d, 0, 512, floor)
    for x in (-4, 122, 250, 378, 504):
        d.rect(x, 0, 12, 512, d.linear(x, 0, x + 12, 0, (0, lighter(_WOOD, 0.15)), (1, darker(_WOOD, 0.45))))
    d.rect(0, 0, SIZE, SIZE, colour, opacity=0.16)
    return 4.4


def _window(d: Drawing, colour: str) -> float:
    _wall(d, colour)
    _pane(d, 26, 22, 196, 330, "#f4f1ea")
    _pane(d, 300, 22, 186, 330, "#f4f1ea")
    d.rect(0, 360, 512, 16, d.linear(0, 360, 0, 376, (0, "#fbf8f1"), (1, "#cfc6b6")))
    rng = random.Random(5)  # noqa: S311 - decoration
    for x, size in ((40, 76), (112, 52), (408, 60), (472, 84)):
        _plant(d, x, 338, size, rng)
    for x in (-8, 236, 268, 486):
        edges = f"C {x + 10} 120 {x - 6} 260 {x + 4} 400 L {x + 40} 400 C {x + 32} 260 {x + 42} 120 {x + 34} 0"
        d.path(f"M {x} 0 {edges} Z",
            d.linear(x, 0, x + 40, 0, (0, "#fdfaf3", 0.72), (0.5, "#e4dac8", 0.8), (1, "#f7f1e6", 0.72)))
    return 4.2


def _kitchen(d: Drawing, colour: str) -> float:
    _wall(d, colour)
    tile = mix(colour, "#ffffff", 0.55)
    for row in range(8):
        for column in range(11):
            x, y = column * 52 - (row % 2) * 26, 150 + row * 27
            d.rect(x, y, 50, 25, d.linear(x, y, x + 50, y + 25, (0, lighter(tile, 0.5)), (1, darker(tile, 0.08))),
                radius=2)
    d.rect(0, 96, 512, 10, d.linear(0, 96, 0, 106, (0, lighter(_WOOD, 0.3)), (1, darker(_WOOD, 0.3))))
    jars = ((20, "#d7dfe0"), (66, "#e3b77a"), (108, "#9fb8a5"), (150, "#c96f54"), (372, "#e8dcc4"), (412, "#86a3ad"),
        (462, "#d9a441"))
    for x, tone in jars:
        d.rect(x, 54, 34, 42, d.linear(x, 0, x + 34, 0, (0, lighter(tone, 0.4)), (1, darker(tone, 0.3))), radius=6)
        d.rect(x + 3, 47, 28, 9, darker(tone, 0.35), radius=3)
    d.rect(0, 128, 512, 4, "#8d8f90")
    for x, length in ((40, 64), (92, 50), (398, 56), (446, 70)):
        d.rect(x + 12, 130, 5, length, "#6d7174")
        d.ellipse(x + 14, 140 + length, 21, 21, d.radial(x + 8, 132 + length, 26, 26, (0, "#e2a06b"), (1, "#8f5330")))
    d.rect(0, 372, 512, 18, d.linear(0, 372, 0, 390, (0, "#f6f0e4"), (1, "#c9bda8")))
    cabinet = mix(colour, "#4f6f68", 0.5)
    d.rect(0, 390, 512, 130, d.linear(0, 390, 0, 512, (0, cabinet), (1, darker(cabinet, 0.35))))
    rng = random.Random(3)  # noqa: S311 - decoration
    _plant(d, 452, 352, 50, rng, "#6f9a52")
    d.ellipse(62, 354, 40, 20, d.linear(22, 340, 102, 374, (0, "#f3ede2"), (1, "#b9ab97")))
    for x, y, tone in ((46, 338, "#d9573f"), (70, 334, "#e8a13a"), (58, 326, "#8fae4b"), (84, 340, "#d9573f")):
        d.ellipse(x, y, 14, 13, d.radial(x - 4, y - 4, 16, 16, (0, lighter(tone, 0.4)), (1, darker(tone, 0.25))))
    return 4.0


def _studio(d: Drawing, colour: str) -> float:
    d.rect(0, 0, SIZE, SIZE, d.radial(270, 200, 380, 400, (0, lighter(colour, 0.3)), (0.5, colour),
        (1, darker(colour, 0.72))))
    accent = turned(colour, 150)
    d.ellipse(470, 120, 170, 220, d.radial(470, 120, 170, 220, (0, mix(accent, "#ffd9b0", 0.5), 0.45),
        (1, accent, 0)))
    d.path("M 0 40 L 62 20 L 96 128 L 0 150 Z", d.linear(0, 30, 96, 140, (0, "#ffffff"), (1, "#f7e6c8")))
    d.path("M 0 40 L 62 20 L 96 128 L 0 150 Z", stroke="#2b2a2d", width=7)
    d.path("M 40 140 L 52 512", stroke="#26252a", width=7)
    _lamp_glow(d, 40, 84, 190, 0.5)
    for row in range(5):
        for column in range(3):
            x, y = 392 + column * 42, 250 + row * 42
            d.path(f"M {x} {y} L {x + 40} {y} L {x + 20} {y + 20} Z", darker(colour, 0.55), opacity=0.5)
            d.path(f"M {x} {y + 40} L {x + 40} {y + 40} L {x + 20} {y + 20} Z", darker(colour, 0.72), opacity=0.5)
    return 5.0


def _living_room(d: Drawing, colour: str) -> float:
    _wall(d, colour)
    for x, y, width, height, first, second in (
        (22, 40, 92, 116, "#d98f5c", "#4d6f86"), (34, 178, 74, 74, "#7f9f86", "#e3cf9c"),
            (392, 36, 60, 78, "#b5654d", "#efe2cd")
    ):
        d.rect(x, y, width, height, "#f6f2ea")
        d.rect(x + 8, y + 8, width - 16, height - 16, d.linear(x, y, x + width, y + height, (0, first), (1, second)))
        d.ellipse(x + width * 0.6, y + height * 0.45, width * 0.18, width * 0.18, lighter(first, 0.6), opacity=0.8)
    sofa = mix(colour, "#4f6a78", 0.62)
    d.rect(-20, 330, 560, 200, d.linear(0, 330, 0, 520, (0, lighter(sofa, 0.16)), (1, darker(sofa, 0.4))), radius=34)
    for x in (10, 262):
        d.rect(x, 344, 240, 190, d.linear(x, 344, x, 520, (0, lighter(sofa, 0.26)), (1, darker(sofa, 0.25))),
            radius=26)
    d.rect(6, 356, 96, 92, d.linear(6, 356, 100, 450, (0, "#e8b25e"), (1, "#b5772f")), radius=18)
    d.rect(414, 362, 92, 86, d.linear(414, 362, 506, 448, (0, "#e6ddd0"), (1, "#b3a693")), radius=18)
    d.rect(456, 190, 5, 170, "#6b5a48")
    d.path("M 420 204 L 496 204 L 480 148 L 436 148 Z", d.linear(0, 148, 0, 204, (0, "#fff1d0"), (1, "#f0c987")))
    _lamp_glow(d, 458, 190, 130, 0.62)
    return 4.4


def _cafe(d: Drawing, colour: str) -> float:
    base = darker(mix(colour, "#7a5236", 0.6), 0.25)
    d.rect(0, 0, SIZE, SIZE, d.linear(0, 0, 0, 512, (0, darker(base, 0.4)), (0.6, base), (1, darker(base, 0.5))))
    d.rect(318, 60, 200, 250, d.linear(318, 60, 512, 310, (0, "#f6dcae"), (1, "#a9825c")))
    rng = random.Random(14)  # noqa: S311 - decoration
    for floor in (140, 210, 280):
        d.rect(318, floor, 200, 7, darker(_WOOD, 0.4))
        for index in range(9):
            x = 326 + index * 21
            tone = rng.choice(("#c96f54", "#7f9f86", "#e3cf9c", "#4d6f86", "#f1e7d6", "#8a5a3c"))
            tall = rng.uniform(24, 46)
            d.rect(x, floor - tall, 14, tall, d.linear(x, 0, x + 14, 0, (0, lighter(tone, 0.3)),
                (1, darker(tone, 0.4))), radius=4)
    for x, y in ((66, 96), (160, 60), (300, 84), (430, 50)):
        d.rect(x - 1.5, 0, 3, y - 16, "#1d1613")
        d.path(f"M {x - 24} {y} Q {x} {y - 44} {x + 24} {y} Z", "#2d2420")
        d.ellipse(x, y + 2, 11, 9, "#fff3cf")
        _lamp_glow(d, x, y + 6, 74, 0.7)
    for _ in range(26):
        cx, cy, size = rng.uniform(0, 300), rng.uniform(150, 420), rng.uniform(8, 24)
        d.ellipse(cx, cy, size, size, rng.choice(("#ffcf8a", "#ffb36b", "#ffe6bf", "#f29a68")),
            opacity=rng.uniform(0.08, 0.24))
    d.rect(0, 418, 512, 100, d.linear(0, 418, 0, 512, (0, lighter(_WOOD, 0.1)), (1, darker(_WOOD, 0.5))))
    d.path("M 34 372 h 50 l -6 46 h -38 Z", d.linear(34, 0, 84, 0, (0, "#fbf6ec"), (1, "#c5b8a4")))
    return 4.6


def _garden(d: Drawing, colour: str) -> float:
    d.rect(0, 0, SIZE, SIZE, d.linear(0, 0, 0, 512, (0, "#cfe7f2"), (0.4, mix("#e4efd0", colour, 0.25)),
        (0.62, "#a9c77d"), (1, "#64904f")))
    rng = random.Random(17)  # noqa: S311 - decoration
    for _ in range(120):
        x, y = rng.uniform(-20, 532), rng.uniform(30, 330)
        size = rng.uniform(18, 46)
        depth = y / 330
        tone = mix(mix("#a5c98a", "#41704a", depth * 0.8), rng.choice(("#d7dc8a", "#6fa06a", "#88b67c")),
            rng.uniform(0, 0.5))
        if abs(x - 256) > 90 + rng.uniform(0, 60) or y > 190:
            d.ellipse(x, y, size, size * 0.86, tone, opacity=0.72)
    for x, width in ((58, 26), (440, 32)):
        d.rect(x, 150, width, 240, d.linear(x, 0, x + width, 0, (0, "#8d6d52"), (1, "#55402f")))
    for _ in range(46):
        x, y = rng.uniform(0, 512), rng.uniform(370, 512)
        tone = rng.choice(("#e8748a", "#f3c64f", "#ffffff", "#c78ad0", "#f08a5a"))
        d.ellipse(x, y, rng.uniform(5, 10), rng.uniform(5, 9), tone, opacity=0.85)
    for _ in range(16):
        x, y, size = rng.uniform(0, 512), rng.uniform(0, 250), rng.uniform(10, 30)
        d.ellipse(x, y, size, size, "#fffbe0", opacity=rng.uniform(0.08, 0.26))
    return 5.0


PLACES: dict[Backdrop, Callable[[Drawing, str], float]] = {"plain": _plain, "office": _office,
    "bookshelf": _bookshelf, "window": _window, "kitchen": _kitchen, "studio": _studio, "living_room": _living_room,
    "cafe": _cafe, "garden": _garden}
"""Each draws its place and returns how strongly it is to be blurred, in pixels."""
