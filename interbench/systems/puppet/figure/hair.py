"""Hair styles. Each is a :class:`Cut`: outlines for the layers, and pairs of guide curves between which strands run."""

# fmt: off
from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interbench.domain.persona import HairStyle
from interbench.systems.puppet.figure.anatomy import CX, Anatomy, outline
from interbench.systems.puppet.figure.palette import darker, lighter, luminance, mix
from interbench.systems.puppet.figure.svg import Drawing, number

Strand = tuple[float, float, float, float, float, float, float, float]
"""A cubic from first to last point, x relative to the middle of the face."""
Lock = tuple[Strand, Strand, int]
"""Two guides and how many strands run between them."""


@dataclass(frozen=True)
class Cut:
    """The parts of a hair style; every outline is an SVG path."""

    back: tuple[str, ...] = ()
    """Behind neck and shoulders; moves with the body."""
    behind: tuple[str, ...] = ()
    """Behind face and ears; moves with the head."""
    front: tuple[str, ...] = ()
    """Over the face."""
    locks: tuple[Lock, ...] = ()
    back_locks: tuple[Lock, ...] = ()
    behind_locks: tuple[Lock, ...] = ()
    curls: tuple[tuple[float, float, float], ...] = ()
    """Round curls over the front: x relative to the middle, y, radius."""
    behind_curls: tuple[tuple[float, float, float], ...] = ()
    soft: float = 0.0
    """Blur of the outlines' edge in pixels, for hair too short to have strands."""


def _mirror(curve: Strand) -> Strand:
    x0, y0, x1, y1, x2, y2, x3, y3 = curve
    return -x0, y0, -x1, y1, -x2, y2, -x3, y3


def _both(*locks: Lock) -> tuple[Lock, ...]:
    return (*locks, *((_mirror(first), _mirror(second), count) for first, second, count in locks))


def _crop(a: Anatomy) -> Cut:
    t = a.temple
    front = outline("M", -t - 0, 216, "C", -t - 5, 190, -t - 9, 148, -t + 8, 112, "C", -56, 84, -18, 70, 16, 72,
        "C", 50, 74, t - 6, 92, t + 3, 124, "C", t + 8, 154, t + 5, 190, t + 0, 216,
        "C", t - 4, 204, t - 5, 192, t - 8, 178, "C", t - 10, 164, 62, 152, 56, 138,
        "C", 52, 142, 46, 146, 38, 148, "C", 36, 142, 32, 138, 28, 136, "C", 22, 142, 14, 146, 6, 147,
        "C", 4, 141, 0, 137, -6, 135,
        "C", -12, 141, -20, 146, -28, 148, "C", -30, 143, -34, 139, -38, 137, "C", -46, 145, -56, 152, -62, 158,
        "C", -68, 166, -t + 9, 174, -t + 8, 186, "C", -t + 6, 198, -t + 4, 208, -t - 0, 216, "Z")
    locks: tuple[Lock, ...] = (((-60, 154, -66, 128, -50, 100, -14, 82), (-8, 140, 6, 122, 30, 104, 58, 96), 26),
        ((0, 142, 14, 126, 40, 108, 66, 106), (52, 142, 62, 132, 70, 124, t - 2, 118), 13),
        ((-t + 2, 208, -t - 4, 180, -t - 2, 140, -50, 104), (-t + 10, 180, -t + 8, 164, -64, 144, -40, 102), 9),
        ((t - 2, 208, t + 4, 180, t + 2, 140, 60, 100), (t - 9, 180, t - 8, 164, 66, 144, 50, 98), 9))
    return Cut(front=(front,), locks=locks)


def _side_part(a: Anatomy) -> Cut:
    t = a.temple
    front = outline("M", -t - 1, 230, "C", -t - 7, 196, -t - 10, 148, -t + 12, 112, "C", -56, 92, -44, 82, -30, 80,
        "C", 4, 62, 58, 68, t - 4, 104, "C", t + 12, 132, t + 9, 190, t + 1, 230,
        "C", t - 5, 220, t - 4, 202, t - 7, 184, "C", t - 10, 162, 66, 150, 40, 142, "C", 6, 132, -20, 124, -36, 108,
        "C", -40, 128, -56, 144, -66, 158, "C", -74, 170, -t + 7, 186, -t + 6, 204,
        "C", -t + 5, 216, -t + 3, 226, -t - 1, 230, "Z")
    locks: tuple[Lock, ...] = (((-36, 106, -10, 124, 30, 136, 62, 154), (-30, 82, 10, 66, 60, 80, t, 140), 26),
        ((-36, 104, -46, 128, -66, 150, -t + 6, 190), (-34, 84, -60, 94, -t + 2, 128, -t - 3, 190), 13),
        ((t - 8, 160, t - 4, 180, t - 4, 200, t + 0, 224), (t + 4, 140, t + 6, 170, t + 6, 200, t + 1, 226), 6))
    return Cut(front=(front,), locks=locks)


def _buzz(a: Anatomy) -> Cut:
    t = a.temple
    front = outline("M", -t + 1, 214, "C", -t - 2, 180, -t - 2, 146, -t + 11, 122, "C", -50, 100, -20, 94, 0, 94,
        "C", 20, 94, 50, 100, t - 11, 122, "C", t + 2, 146, t + 2, 180, t - 1, 214,
        "C", t - 4, 196, t - 6, 178, t - 14, 164, "C", 56, 150, 40, 142, 0, 140,
        "C", -40, 142, -56, 150, -t + 14, 164, "C", -t + 6, 178, -t + 4, 196, -t + 1, 214, "Z")
    return Cut(front=(front,), soft=0.9)


def _bald(a: Anatomy) -> Cut:
    """Nothing on top; a soft fringe above the ears from middle age on."""
    if a.age < 45:
        return Cut()
    t = a.temple
    sides = (outline("M", side * (3 - t), 178, "C", side * (-t - 9), 182, side * (-t - 11), 206, side * (-t - 5),
        232, "C", side * (-t - 1), 226, side * (3 - t), 210, side * (4 - t), 200, "Z") for side in (1, -1))
    return Cut(front=tuple(sides), soft=1.6)


def _pixie(a: Anatomy) -> Cut:
    t = a.temple
    front = outline("M", -t + 1, 238, "C", -t - 11, 206, -t - 13, 150, -t + 6, 112, "C", -56, 80, -16, 68, 16, 72,
        "C", 52, 74, t + 0, 96, t + 8, 136, "C", t + 13, 168, t + 9, 208, t - 1, 240,
        "C", t - 5, 226, t - 4, 206, t - 8, 188, "C", 66, 176, 58, 156, 46, 142, "C", 30, 160, -6, 172, -40, 178,
        "C", -56, 181, -66, 190, -t + 8, 204, "C", -t + 6, 216, -t + 4, 228, -t + 1, 238, "Z")
    locks: tuple[Lock, ...] = (((44, 140, 24, 158, -10, 170, -54, 182), (24, 82, -10, 86, -50, 120, -t + 1, 200),
        26), ((44, 140, 56, 160, 66, 180, t - 6, 216), (30, 84, 60, 96, t + 4, 140, t + 3, 220), 17))
    return Cut(front=(front,), locks=locks)


def _bob(a: Anatomy) -> Cut:
    t = a.temple
    back = outline("M", -t + 8, 210, "C", -t - 14, 250, -t - 22, 300, -t - 10, 352,
        "C", -40, 362, 40, 362, t + 10, 352, "C", t + 22, 300, t + 14, 250, t - 8, 210, "Z")
    front = outline("M", 20, 82, "C", -30, 66, -t - 6, 84, -t - 14, 150,
        "C", -t - 24, 220, -t - 26, 300, -t - 8, 354, "C", -t + 8, 356, -62, 346, -56, 330,
        "C", -64, 300, -t - 0, 262, -t + 6, 214, "C", -t + 12, 184, -40, 168, 20, 106,
        "C", 44, 142, 62, 166, t - 6, 206, "C", t + 0, 262, 66, 300, 58, 332, "C", 64, 346, t - 6, 356, t + 9, 354,
        "C", t + 26, 300, t + 24, 220, t + 15, 150, "C", t + 6, 96, 60, 72, 20, 82, "Z")
    locks: tuple[Lock, ...] = (((20, 104, -30, 152, -66, 176, -t + 4, 226),
        (14, 84, -40, 74, -t - 6, 100, -t - 12, 200), 19), ((-t + 4, 226, -t + 0, 270, -66, 306, -58, 340),
        (-t - 14, 190, -t - 20, 250, -t - 18, 310, -t - 4, 348), 13),
        ((22, 104, 42, 140, 62, 166, t - 4, 216), (26, 84, 60, 80, t + 6, 110, t + 12, 200), 15),
        ((t - 4, 226, t - 0, 270, 66, 306, 60, 340), (t + 14, 190, t + 20, 250, t + 18, 310, t + 4, 348), 13))
    return Cut(back=(back,), front=(front,), locks=locks)


def _long(a: Anatomy) -> Cut:
    t = a.temple
    back = outline("M", -t + 8, 220, "C", -t - 14, 270, -t - 36, 350, -t - 46, 430,
        "C", -t - 30, 462, -40, 470, 0, 470, "C", 40, 470, t + 30, 462, t + 46, 430,
        "C", t + 36, 350, t + 14, 270, t - 8, 220, "Z")
    front = outline("M", 0, 80, "C", -46, 72, -t - 4, 92, -t - 13, 150,
        "C", -t - 26, 230, -t - 30, 320, -t - 36, 420, "C", -t - 20, 424, -t + 4, 420, -t + 12, 404,
        "C", -t + 0, 356, -t - 8, 296, -t + 4, 226, "C", -t + 12, 190, -34, 172, -2, 106,
        "C", 32, 170, t - 12, 190, t - 4, 226, "C", t + 8, 296, t + 0, 356, t - 12, 404,
        "C", t - 4, 420, t + 20, 424, t + 36, 420, "C", t + 30, 320, t + 26, 230, t + 13, 150,
        "C", t + 4, 92, 46, 72, 0, 80, "Z")
    side: tuple[Lock, ...] = (((-2, 104, -32, 166, -t + 12, 190, -t + 5, 232),
        (-4, 82, -50, 78, -t - 6, 110, -t - 14, 200), 17), ((-t + 4, 228, -t - 8, 296, -t - 2, 350, -t + 8, 404),
        (-t - 14, 190, -t - 24, 260, -t - 28, 340, -t - 32, 416), 17))
    return Cut(back=(back,), front=(front,), locks=_both(*side),
        back_locks=_both(((-60, 350, -70, 390, -60, 430, -54, 464),
        (-t - 40, 350, -t - 44, 390, -t - 44, 420, -t - 36, 440), 12)))


def _wavy(a: Anatomy) -> Cut:
    t = a.temple
    back = outline("M", -t + 8, 220, "C", -t - 10, 250, -t - 24, 300, -t - 40, 350,
        "C", -t - 52, 400, -t - 30, 432, -t - 16, 446, "C", -40, 458, 40, 458, t + 16, 446,
        "C", t + 30, 432, t + 52, 400, t + 40, 350, "C", t + 24, 300, t + 10, 250, t - 8, 220, "Z")
    front = outline("M", -22, 80, "C", -60, 72, -t - 12, 100, -t - 16, 156,
        "C", -t - 40, 206, -t - 14, 246, -t - 30, 296, "C", -t - 44, 340, -t - 22, 372, -t - 34, 408,
        "C", -t - 20, 420, -t + 4, 412, -t + 12, 392, "C", -t + 18, 360, -t - 8, 336, -t + 2, 300,
        "C", -t + 8, 272, -t - 8, 256, -t + 4, 224, "C", -t + 14, 190, -50, 160, -24, 106,
        "C", 12, 156, t - 20, 168, t - 5, 216, "C", t + 10, 248, t - 8, 272, t + 2, 304,
        "C", t + 10, 336, t - 18, 360, t - 12, 392, "C", t - 4, 412, t + 20, 420, t + 34, 408,
        "C", t + 22, 372, t + 44, 340, t + 30, 296, "C", t + 14, 246, t + 40, 206, t + 16, 150,
        "C", t + 8, 90, 40, 62, -22, 80, "Z")
    locks: tuple[Lock, ...] = (((-24, 104, -48, 160, -t + 14, 190, -t + 4, 228),
        (-26, 82, -64, 84, -t - 10, 116, -t - 16, 196), 13),
        ((-22, 104, 12, 154, t - 20, 168, t - 6, 222), (-16, 80, 40, 68, t + 4, 100, t + 14, 190), 20),
        *_both(((-t + 2, 228, -t - 10, 262, -t + 12, 276, -t + 2, 304),
        (-t - 18, 190, -t - 30, 230, -t - 8, 250, -t - 26, 296), 11),
        ((-t + 2, 300, -t - 8, 340, -t + 14, 360, -t + 8, 394),
        (-t - 27, 296, -t - 40, 340, -t - 20, 370, -t - 30, 406), 11)))
    return Cut(back=(back,), front=(front,), locks=locks,
        back_locks=_both(((-60, 350, -72, 380, -56, 410, -60, 450),
        (-t - 40, 340, -t - 48, 370, -t - 40, 410, -t - 22, 438), 10)))


def _pulled_back(a: Anatomy) -> tuple[str, tuple[Lock, ...]]:
    """The cap of hair that is gathered behind, with a few loose strands at the temples."""
    t = a.temple
    cap = outline("M", -t + 2, 236, "C", -t - 6, 214, -t - 9, 160, -t + 6, 118, "C", -52, 88, -22, 80, 0, 80,
        "C", 22, 80, 52, 88, t - 6, 118, "C", t + 9, 160, t + 6, 214, t - 2, 236,
        "C", t - 3, 214, t - 6, 196, t - 10, 184, "C", 60, 158, 36, 142, 0, 138,
        "C", -36, 142, -60, 158, -t + 10, 184, "C", -t + 6, 196, -t + 3, 214, -t + 2, 236, "Z")
    locks = _both(((-2, 138, -14, 122, -12, 104, -6, 84), (-58, 158, -66, 136, -52, 106, -14, 82), 16),
        ((-60, 160, -70, 140, -56, 108, -20, 83), (-t + 3, 224, -t - 6, 178, -t + 2, 124, -34, 88), 12))
    return cap, locks


def _bun(a: Anatomy) -> Cut:
    cap, locks = _pulled_back(a)
    bun = outline("M", -34, 84, "C", -44, 62, -26, 42, 2, 42, "C", 30, 42, 44, 62, 35, 86,
        "C", 20, 96, -20, 96, -34, 84, "Z")
    return Cut(behind=(bun,), front=(cap,), locks=locks,
        behind_locks=(((-30, 84, -30, 62, -10, 48, 20, 52), (-20, 92, -8, 74, 10, 66, 34, 74), 12),
        ((-14, 50, 4, 42, 30, 52, 33, 78), (0, 66, 14, 62, 24, 72, 22, 90), 7)))


def _ponytail(a: Anatomy) -> Cut:
    cap, locks = _pulled_back(a)
    t = a.temple
    tail = outline("M", 40, 300, "C", t + 10, 300, t + 34, 350, t + 30, 410,
        "C", t + 28, 446, t + 16, 470, t + 2, 484, "C", 60, 466, 52, 420, 46, 380, "Z")
    back_locks: tuple[Lock, ...] = (((48, 330, 52, 380, 60, 440, t + 0, 480),
        (t + 10, 320, t + 32, 360, t + 28, 430, t + 6, 478), 15),)
    return Cut(back=(tail,), front=(cap,), locks=locks, back_locks=back_locks)


def _round_curls(
    a: Anatomy, seed: int, height: float, reach: float, count: int
) -> tuple[tuple[float, float, float], ...]:
    """Curls scattered between crown and hairline, the outermost first."""
    rng = random.Random(seed)  # noqa: S311 - decoration
    found: list[tuple[float, float, float]] = []
    while len(found) < count:
        angle = math.radians(rng.uniform(-108, 108))
        ring = rng.uniform(0.08, 1.0) ** 0.5
        x = math.sin(angle) * (a.temple + reach) * ring
        y = 172 - math.cos(angle) * height * ring
        in_face = (x / (a.temple - 12)) ** 2 + ((y - 222) / 76) ** 2 < 1
        if not in_face:
            found.append((x, y, rng.uniform(8.5, 12.5)))
    return tuple(sorted(found, key=lambda curl: -math.hypot(curl[0], curl[1] - 172)))


def _curls(a: Anatomy) -> Cut:
    t = a.temple
    cap = outline("M", -t - 1, 214, "C", -t - 14, 180, -t - 14, 130, -58, 96, "C", -36, 76, 36, 76, 58, 96,
        "C", t + 14, 130, t + 14, 180, t + 1, 214, "C", t - 4, 196, t - 8, 178, 58, 156,
        "C", 36, 142, -36, 142, -58, 156, "C", -t + 8, 178, -t + 4, 196, -t - 1, 214, "Z")
    fringe = tuple((x, 146 + abs(x) ** 2 * 0.0052, 10.5) for x in range(-60, 61, 15))
    return Cut(front=(cap,), curls=(*_round_curls(a, 3, 92, 8, 150), *fringe))


def _afro(a: Anatomy) -> Cut:
    t = a.temple
    ball = outline("M", 0, 50, "C", 66, 50, t + 38, 96, t + 38, 172, "C", t + 38, 236, t + 16, 276, t - 14, 284,
        "L", -t + 14, 284, "C", -t - 16, 276, -t - 38, 236, -t - 38, 172, "C", -t - 38, 96, -66, 50, 0, 50, "Z")
    front = outline("M", -t - 2, 222, "C", -t - 22, 170, -t - 6, 80, 0, 76, "C", t + 6, 80, t + 22, 170, t + 2, 222,
        "C", t - 2, 200, t - 6, 182, 62, 162, "C", 36, 142, -36, 142, -62, 162,
        "C", -t + 6, 182, -t + 2, 200, -t - 2, 222, "Z")
    rng = random.Random(11)  # noqa: S311 - decoration
    behind = []
    for _ in range(170):
        angle, ring = rng.uniform(-2.1, 2.1), rng.uniform(0.45, 1.0) ** 0.5
        behind.append((math.sin(angle) * (t + 33) * ring, 168 - math.cos(angle) * 116 * ring, rng.uniform(6, 10)))
    return Cut(behind=(ball,), front=(front,), behind_curls=tuple(sorted(behind,
        key=lambda curl: -math.hypot(curl[0], curl[1] - 168))), curls=_round_curls(a, 5, 104, 14, 190))


def _hijab(a: Anatomy) -> Cut:
    """The scarf's own drawing is in :func:`draw_front`; there is no hair."""
    del a
    return Cut()


STYLES: dict[HairStyle, Callable[[Anatomy], Cut]] = {
    "bald": _bald,
    "buzz": _buzz,
    "crop": _crop,
    "side_part": _side_part,
    "curls": _curls,
    "afro": _afro,
    "pixie": _pixie,
    "bob": _bob,
    "long": _long,
    "wavy": _wavy,
    "bun": _bun,
    "ponytail": _ponytail,
    "hijab": _hijab,
}


def cut_of(a: Anatomy) -> Cut:
    return STYLES[a.look.hair_style](a)


def shadows(a: Anatomy) -> tuple[str, ...]:
    """Outlines that darken the skin below them."""
    if a.look.hair_style == "hijab":
        return (_scarf(a),)
    return cut_of(a).front


def draw_back(d: Drawing, a: Anatomy) -> None:
    """What hangs behind neck and shoulders."""
    cut = cut_of(a)
    hair = darker(a.look.hair, 0.22)
    for shape in cut.back:
        d.path(shape, d.linear(CX, 200, CX, 470, (0, darker(hair, 0.6)), (0.5, darker(hair, 0.25)), (1, hair)))
        with d.group(clip=d.clip(shape)):
            _strands(d, cut.back_locks, hair, seed=2)


def draw_behind(d: Drawing, a: Anatomy) -> None:
    """What shows above and beside the face from behind it."""
    cut = cut_of(a)
    hair = a.look.hair
    for shape in cut.behind:
        d.path(shape, d.radial(CX - 20, 90, 150, 200, (0, lighter(hair, 0.1)), (0.5, hair), (1, darker(hair, 0.5))))
        with d.group(clip=d.clip(shape)):
            _strands(d, cut.behind_locks, hair, seed=3)
    _curl_heads(d, cut.behind_curls, lighter(hair, 0.04))


def draw_front(d: Drawing, a: Anatomy) -> None:
    """What lies over the face."""
    if a.look.hair_style == "hijab":
        _draw_scarf(d, a)
        return
    cut, hair = cut_of(a), a.look.hair
    if cut.soft:
        for shape in cut.front:
            d.path(shape, d.linear(CX - 60, 90, CX + 60, 220, (0, lighter(hair, 0.12)), (1, darker(hair, 0.3))),
                blur=cut.soft, opacity=0.86)
        return
    shine = 0.2 if luminance(hair) < 0.25 else 0.3
    for shape in cut.front:
        d.path(shape, d.linear(CX - 90, 90, CX + 90, 330, (0, lighter(hair, 0.1)), (0.45, hair),
            (1, darker(hair, 0.45))))
        with d.group(clip=d.clip(shape)):
            d.path(shape, stroke=darker(hair, 0.6), width=9, blur=5, opacity=0.55)
            _strands(d, cut.locks, hair, seed=1)
            # The band of light that runs over the crown.
            band = outline("M", -74, 148, "C", -60, 108, -24, 94, 8, 96, "C", 36, 98, 58, 108, 70, 134)
            d.path(band, stroke=lighter(hair, 0.55), width=13, blur=7, opacity=shine + 0.12)
    _curl_heads(d, cut.curls, hair)


def _strands(d: Drawing, locks: Sequence[Lock], hair: str, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - decoration
    light, dark = lighter(hair, 0.3), darker(hair, 0.5)
    for first, second, count in locks:
        for index in range(count):
            share = (index + rng.uniform(0.1, 0.9)) / count
            curve = [p + (q - p) * share + rng.uniform(-1.2, 1.2) for p, q in zip(first, second, strict=True)]
            x0, y0, x1, y1, x2, y2, x3, y3 = curve
            d.path(outline("M", x0, y0, "C", x1, y1, x2, y2, x3, y3), stroke=light if rng.random() < 0.48 else dark,
                width=rng.uniform(0.8, 2.4), opacity=rng.uniform(0.16, 0.42))


def _curl_heads(d: Drawing, curls: Sequence[tuple[float, float, float]], hair: str) -> None:
    rng = random.Random(4)  # noqa: S311 - decoration
    for x, y, radius in curls:
        cx = CX + x
        lit = 0.16 - 0.0016 * x - 0.0008 * (y - 110)
        near = lighter(hair, max(0.02, min(0.3, lit)))
        d.ellipse(cx, y, radius, radius * 0.94, d.radial(cx - radius * 0.35, y - radius * 0.4, radius * 1.25,
            radius * 1.25, (0, near), (0.55, hair), (1, darker(hair, 0.5))))
        turn = rng.uniform(0, 6.28)
        px, py = cx + math.cos(turn) * radius * 0.55, y + math.sin(turn) * radius * 0.55
        qx, qy = cx + math.cos(turn + 2.1) * radius * 0.55, y + math.sin(turn + 2.1) * radius * 0.55
        mx, my = cx + math.cos(turn + 1.05) * radius * 1.05, y + math.sin(turn + 1.05) * radius * 1.05
        d.path(f"M {number(px)} {number(py)} Q {number(mx)} {number(my)} {number(qx)} {number(qy)}",
            stroke=lighter(hair, 0.34), width=1.3, opacity=0.4)


def _scarf(a: Anatomy) -> str:
    """Head scarf with an opening for the face, to be filled even-odd."""
    t, c = a.temple, a.chin_y
    outer = outline("M", 0, 74, "C", 58, 74, t + 16, 112, t + 18, 178, "C", t + 22, 250, t + 20, 320, t + 6, 372,
        "C", 66, 408, 30, 416, 0, 416, "C", -30, 416, -66, 408, -t - 6, 372,
        "C", -t - 20, 320, -t - 22, 250, -t - 18, 178, "C", -t - 16, 112, -58, 74, 0, 74, "Z")
    opening = outline("M", 0, 134, "C", 44, 134, t - 6, 152, t - 3, 206, "C", t + 1, 258, 62, 312, 40, c - 13,
        "C", 24, c + 1, -24, c + 1, -40, c - 13, "C", -62, 312, -t - 1, 258, -t + 3, 206,
        "C", -t + 6, 152, -44, 134, 0, 134, "Z")
    return f"{outer} {opening}"


def _draw_scarf(d: Drawing, a: Anatomy) -> None:
    cloth, t, c = a.look.hair, a.temple, a.chin_y
    shape = _scarf(a)
    d.path(shape, d.linear(CX - 90, 90, CX + 96, 400, (0, lighter(cloth, 0.24)), (0.4, cloth),
        (1, darker(cloth, 0.42))), even_odd=True)
    inner = outline("M", 0, 134, "C", 44, 134, t - 6, 152, t - 3, 206, "C", t + 1, 258, 62, 312, 40, c - 13,
        "C", 24, c + 1, -24, c + 1, -40, c - 13, "C", -62, 312, -t - 1, 258, -t + 3, 206,
        "C", -t + 6, 152, -44, 134, 0, 134, "Z")
    d.path(inner, stroke=darker(cloth, 0.5), width=2.4, opacity=0.7)
    d.path(inner, stroke=lighter(cloth, 0.35), width=1.0, opacity=0.5)
    fold = darker(cloth, 0.5)
    for side, depth in ((-1, 0.4), (1, 0.6)):
        for index, (x0, y0, x1, y1, x2, y2, x3, y3) in enumerate(((20, 92, 66, 104, t + 4, 150, t + 4, 214),
            (t + 3, 170, t + 12, 240, t + 6, 300, 52, 356), (t + 12, 210, t + 16, 280, t + 8, 340, 40, 384),
            (t - 1, 250, t - 2, 300, 62, 340, 26, 364), (t + 16, 260, t + 14, 330, 76, 380, 20, 402))):
            curve = outline("M", side * x0, y0, "C", side * x1, y1, side * x2, y2, side * x3, y3)
            d.path(curve, stroke=fold, width=5.0, blur=2.2, opacity=depth)
            with d.group(transform=f"translate({-2 * side} -2)"):
                d.path(curve, stroke=lighter(cloth, 0.4), width=2.0, blur=1.0, opacity=0.34 if index else 0.2)
    d.path(outline("M", -52, 118, "C", -30, 96, 20, 90, 48, 106), stroke=mix(cloth, "#ffffff", 0.5), width=11,
        blur=7, opacity=0.4)
