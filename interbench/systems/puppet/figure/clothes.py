"""Neck, shoulders and clothes: everything that breathes with the body."""

# fmt: off
from __future__ import annotations

from collections.abc import Callable

from interbench.domain.persona import ClothesStyle
from interbench.systems.puppet.figure import hair
from interbench.systems.puppet.figure.anatomy import CX, Anatomy, outline
from interbench.systems.puppet.figure.palette import darker, lighter, luminance, mix
from interbench.systems.puppet.figure.svg import Drawing

_BELOW = 540
"""Lower edge of what is drawn: beyond the picture, so that a breath uncovers nothing."""


def draw_body(d: Drawing, a: Anatomy) -> None:
    """Back hair, neck and clothes, from back to front."""
    hair.draw_back(d, a)
    if a.look.clothes_style == "hoodie":
        _hood(d, a)
    _neck(d, a)
    if a.look.hair_style == "hijab":
        _torso(d, a)
        STYLES[a.look.clothes_style](d, a)
        _scarf_ends(d, a)
        return
    STYLES[a.look.clothes_style](d, a)
    if "necklace" in a.look.accessories:
        _necklace(d, a)


def _neck(d: Drawing, a: Anatomy) -> None:
    skin, n, s = a.skin, a.neck, a.shoulder
    shape = outline("M", -n, 290, "C", -n + 2, 330, -n + 2, 352, -n - 2, 372,
        "C", -n - 10, 396, -s * 0.62, 404, -s * 0.8, 424, "L", -s * 0.8, _BELOW, "L", s * 0.8, _BELOW,
        "L", s * 0.8, 424, "C", s * 0.62, 404, n + 10, 396, n + 2, 372, "C", n - 2, 352, n - 2, 330, n, 290, "Z")
    d.path(shape, d.linear(CX - n, 330, CX + n + 20, 400, (0, skin.base), (0.5, skin.base), (1, skin.shade)))
    with d.group(clip=d.clip(shape)):
        under = outline("M", -n - 20, 300, "L", -n - 10, 352, "C", -30, 392, 40, 398, n + 14, 366, "L", n + 30, 300,
            "Z")
        d.path(under, skin.deep, blur=7, opacity=0.72)
        d.path(outline("M", n - 6, 330, "C", n - 14, 360, n - 4, 392, n + 20, 410, "L", n + 60, 410,
            "L", n + 60, 330, "Z"), skin.deep, blur=6, opacity=0.45)
        for side in (-1, 1):
            cord = outline("M", side * (n - 10), 352, "C", side * (n - 20), 384, side * 18, 410, side * 8, 424)
            d.path(cord, stroke=skin.deep, width=4, blur=2.4, opacity=0.3)
            bone = outline("M", side * 12, 428, "C", side * 34, 418, side * 66, 420, side * 96, 414)
            d.path(bone, stroke=skin.deep, width=4.5, blur=2.2, opacity=0.34)
        d.ellipse(CX, 426, 9, 7, d.radial(CX, 426, 9, 7, (0, skin.deep, 0.4), (1, skin.deep, 0)))
        d.ellipse(CX - 46, 410, 36, 9, d.radial(CX - 46, 410, 36, 9, (0, skin.glow, 0.35), (1, skin.glow, 0)))


def _shoulders(a: Anatomy, neck_x: float, neck_y: float) -> tuple[float | str, ...]:
    """The outer contour from the neckline's left end around the bottom to its right end."""
    s = a.shoulder
    return ("M", -neck_x, neck_y, "C", -neck_x - 20, neck_y + 14, -s * 0.62, 400, -s * 0.8, 416,
        "C", -s * 0.98, 428, -s * 1.1, 456, -s * 1.2, _BELOW, "L", s * 1.2, _BELOW,
        "C", s * 1.1, 456, s * 0.98, 428, s * 0.8, 416, "C", s * 0.62, 400, neck_x + 20, neck_y + 14, neck_x, neck_y)


def _cloth(d: Drawing, a: Anatomy, shape: str, colour: str) -> None:
    """A garment's ground: light from the left, folds at the armpits, shade under the chin."""
    s = a.shoulder
    d.path(shape, d.linear(CX - s, 400, CX + s, 520, (0, lighter(colour, 0.16)), (0.42, colour),
        (1, darker(colour, 0.38))))
    with d.group(clip=d.clip(shape)):
        for side, strength in ((-1, 0.34), (1, 0.5)):
            arm = outline("M", side * s * 0.74, 452, "C", side * s * 0.66, 480, side * s * 0.68, 505,
                side * s * 0.72, _BELOW)
            d.path(arm, stroke=darker(colour, 0.62), width=8, blur=4, opacity=strength)
            d.path(arm, stroke=darker(colour, 0.62), width=1.6, opacity=strength * 0.7)
            for x0, y0, x1, y1, x2, y2 in ((0.80, 424, 0.66, 440, 0.50, 470), (0.60, 416, 0.50, 436, 0.40, 452),
                (0.66, 462, 0.52, 482, 0.42, 512)):
                crease = outline("M", side * s * x0, y0, "Q", side * s * x1, y1, side * s * x2, y2)
                d.path(crease, stroke=darker(colour, 0.5), width=5, blur=3, opacity=strength * 0.62)
                with d.group(transform="translate(-3 -4)"):
                    d.path(crease, stroke=lighter(colour, 0.4), width=4, blur=2.4, opacity=0.2)
        d.ellipse(CX - s * 0.6, 418, 64, 20, d.radial(CX - s * 0.6, 418, 64, 22, (0, lighter(colour, 0.5), 0.42),
            (1, colour, 0)))
        d.ellipse(CX + 10, 396, 78, 34, d.radial(CX + 10, 392, 78, 36, (0, darker(colour, 0.75), 0.5), (1, colour, 0)))


def _torso(d: Drawing, a: Anatomy) -> None:
    """A closed garment up to the neck, as ground under a scarf."""
    _cloth(d, a, outline(*_shoulders(a, a.neck, 380), "Z"), a.look.clothes)


def _crew(d: Drawing, a: Anatomy, *, depth: float, band: float, ribs: bool) -> None:
    colour, n = a.look.clothes, a.neck
    x, y = n + 9, 388.0
    shape = outline(*_shoulders(a, x, y), "C", x - 8, y + depth * 0.75, x - 32, y + depth, 0, y + depth,
        "C", -x + 32, y + depth, -x + 8, y + depth * 0.75, -x, y, "Z")
    with d.group(clip=d.clip(outline("M", -200, 340, "L", 200, 340, "L", 200, 520, "L", -200, 520, "Z"))):
        d.path(outline("M", -x, y + 2, "C", -x + 8, y + depth * 0.75 + 3, -x + 32, y + depth + 5, 0, y + depth + 5,
            "C", x - 32, y + depth + 5, x - 8, y + depth * 0.75 + 3, x, y + 2), stroke=a.skin.deep, width=9, blur=4,
            opacity=0.6)
    _cloth(d, a, shape, colour)
    collar = outline("M", -x, y, "C", -x + 8, y + depth * 0.75, -x + 32, y + depth, 0, y + depth,
        "C", x - 32, y + depth, x - 8, y + depth * 0.75, x, y, "L", x + 6, y + 5,
        "C", x - 2, y + depth * 0.8 + band, x - 30, y + depth + band, 0, y + depth + band,
        "C", -x + 30, y + depth + band, -x + 2, y + depth * 0.8 + band, -x - 6, y + 5, "Z")
    d.path(collar, d.linear(CX - x, y, CX + x, y + depth, (0, lighter(colour, 0.2)), (0.5, colour),
        (1, darker(colour, 0.3))))
    lower = outline("M", -x - 6, y + 5, "C", -x + 2, y + depth * 0.8 + band, -x + 30, y + depth + band, 0,
        y + depth + band, "C", x - 30, y + depth + band, x - 2, y + depth * 0.8 + band, x + 6, y + 5)
    d.path(lower, stroke=darker(colour, 0.55), width=2.2, opacity=0.7)
    with d.group(transform="translate(0 4)"):
        d.path(lower, stroke=darker(colour, 0.6), width=5, blur=3, opacity=0.45)
    if ribs:
        with d.group(clip=d.clip(collar)):
            for step in range(-20, 21):
                px = step * 4.0
                d.path(outline("M", px * 1.04, y - 4, "L", px * 0.98, y + depth + band + 3),
                    stroke=darker(colour, 0.5), width=1.1, opacity=0.42)
        for row in range(7):
            ry = 446 + row * 14
            d.path(outline("M", -a.shoulder * 0.7, ry - 5, "C", -60, ry + 3, 60, ry + 3, a.shoulder * 0.7, ry - 5),
                stroke=darker(colour, 0.4), width=1.4, opacity=0.16)


def _sweater(d: Drawing, a: Anatomy) -> None:
    _crew(d, a, depth=24, band=11, ribs=True)


def _tee(d: Drawing, a: Anatomy) -> None:
    _crew(d, a, depth=32, band=7, ribs=False)


def _hood(d: Drawing, a: Anatomy) -> None:
    colour, n = a.look.clothes, a.neck
    hood = outline("M", -n - 46, 424, "C", -n - 54, 376, -n - 22, 344, -n + 6, 342, "L", n - 6, 342,
        "C", n + 22, 344, n + 54, 376, n + 46, 424, "Z")
    d.path(hood, d.linear(CX - n - 40, 350, CX + n + 40, 420, (0, lighter(colour, 0.1)),
        (0.35, darker(colour, 0.35)), (1, darker(colour, 0.6))))


def _hoodie(d: Drawing, a: Anatomy) -> None:
    _crew(d, a, depth=36, band=9, ribs=False)
    colour, n = a.look.clothes, a.neck
    for side in (-1, 1):
        edge = outline("M", side * (n + 34), 380, "C", side * (n + 44), 410, side * (n + 10), 430, side * 8, 446,
            "L", side * 2, 432, "C", side * 26, 424, side * (n + 4), 408, side * (n + 6), 380, "Z")
        d.path(edge, d.linear(CX + side * 20, 380, CX + side * (n + 40), 440, (0, colour),
            (1, darker(colour, 0.28 if side > 0 else 0.1))))
        d.path(edge, stroke=darker(colour, 0.6), width=1.5, opacity=0.55)
        cord = outline("M", side * 14, 440, "C", side * 17, 466, side * 12, 486, side * 16, 508)
        d.path(cord, stroke=darker(colour, 0.6), width=5.2, opacity=0.5)
        d.path(cord, stroke=lighter(colour, 0.72), width=3.4)


def _turtleneck(d: Drawing, a: Anatomy) -> None:
    colour, n = a.look.clothes, a.neck
    _cloth(d, a, outline(*_shoulders(a, n + 6, 384), "Z"), colour)
    roll = outline("M", -n - 3, 352, "C", -n * 0.5, 366, n * 0.5, 366, n + 3, 352,
        "C", n + 8, 366, n + 8, 388, n + 7, 400, "C", n * 0.5, 420, -n * 0.5, 420, -n - 7, 400,
        "C", -n - 8, 388, -n - 8, 366, -n - 3, 352, "Z")
    d.path(roll, d.linear(CX - n, 350, CX + n, 410, (0, lighter(colour, 0.24)), (0.45, colour),
        (1, darker(colour, 0.42))))
    with d.group(clip=d.clip(roll)):
        for step in range(-17, 18):
            d.path(outline("M", step * 4, 340, "L", step * 4.2, 424), stroke=darker(colour, 0.5), width=1.0,
                opacity=0.3)
        d.path(outline("M", -n, 356, "C", -n * 0.4, 378, n * 0.6, 380, n + 8, 356, "L", n + 8, 340, "L", -n, 340,
            "Z"), darker(colour, 0.7), blur=5, opacity=0.6)
    d.path(outline("M", -n - 7, 400, "C", -n * 0.5, 420, n * 0.5, 420, n + 7, 400), stroke=darker(colour, 0.6),
        width=3, blur=1.2, opacity=0.7)


def _open_front(d: Drawing, a: Anatomy, inner: str, v_y: float) -> None:
    """A shirt's body with a V opening down to ``v_y``."""
    n = a.neck
    shape = outline(*_shoulders(a, n + 7, 384), "L", 0, v_y, "L", -n - 7, 384, "Z")
    d.path(outline("M", -n - 6, 386, "L", 0, v_y + 4, "L", n + 6, 386), stroke=a.skin.deep, width=9, blur=4,
        opacity=0.6)
    _cloth(d, a, shape, inner)


def _collar(d: Drawing, a: Anatomy, colour: str, v_y: float, spread: float) -> None:
    n = a.neck
    for side in (-1, 1):
        leaf = outline("M", side * (n - 3), 358, "C", side * (n + 5), 366, side * (n + 10), 376, side * (n + 12),
            388, "L", side * (spread + 12), v_y + 10, "L", side * 2, v_y - 4,
            "C", side * 22, 402, side * (n - 8), 384, side * (n - 3), 358, "Z")
        with d.group(transform="translate(1 5)"):
            d.path(leaf, darker(colour, 0.8), blur=2, opacity=0.26)
        tone = ((lighter(colour, 0.34), lighter(colour, 0.08)) if side < 0 else (lighter(colour, 0.1),
            darker(colour, 0.2)))
        d.path(leaf, d.linear(CX + side * n, 360, CX + side * 10, v_y, (0, tone[0]), (1, tone[1])))
        d.path(leaf, stroke=darker(colour, 0.5), width=1.4, opacity=0.5)


def _placket(d: Drawing, colour: str, top: float) -> None:
    d.path(outline("M", 0, top, "L", 0, _BELOW), stroke=darker(colour, 0.5), width=1.6, opacity=0.6)
    d.path(outline("M", 9, top + 8, "L", 9, _BELOW), stroke=darker(colour, 0.45), width=1.1, opacity=0.4)
    for y in range(int(top) + 22, 520, 34):
        d.ellipse(CX + 4, y, 3.2, 3.2, lighter(colour, 0.6), stroke=darker(colour, 0.55), width=0.9)


def _shirt(d: Drawing, a: Anatomy) -> None:
    colour = a.look.clothes
    _open_front(d, a, colour, 424)
    _placket(d, colour, 424)
    _collar(d, a, colour, 424, 26)


def _blouse(d: Drawing, a: Anatomy) -> None:
    colour = a.look.clothes
    _open_front(d, a, colour, 446)
    n = a.neck
    for side in (-1, 1):
        lapel = outline("M", side * (n + 1), 374, "C", side * (n + 12), 384, side * (n + 14), 396, side * (n + 6),
            410, "C", side * 30, 436, side * 14, 446, side * 0, 450,
            "C", side * 20, 424, side * (n - 6), 400, side * (n + 1), 374, "Z")
        d.path(lapel, d.linear(CX + side * n, 380, CX, 450, (0, lighter(colour, 0.34 if side < 0 else 0.14)),
            (1, darker(colour, 0.12))))
        d.path(lapel, stroke=darker(colour, 0.5), width=1.2, opacity=0.42)
        for x in (0.24, 0.38):
            d.path(outline("M", side * a.shoulder * x, 430, "C", side * a.shoulder * (x - 0.05), 460,
                side * a.shoulder * (x - 0.02), 490, side * a.shoulder * x, _BELOW), stroke=darker(colour, 0.5),
                width=4, blur=2.6, opacity=0.3)


def _lapels(d: Drawing, a: Anatomy, colour: str, v_y: float, *, notch: bool) -> None:
    n, s = a.neck, a.shoulder
    for side in (-1, 1):
        front = outline("M", side * (n + 8), 382, "C", side * s * 0.62, 400, side * s * 0.8, 412, side * s * 0.8,
            416, "C", side * s * 0.98, 428, side * s * 1.1, 456, side * s * 1.2, _BELOW, "L", side * -2, _BELOW,
            "L", side * 2, v_y, "C", side * 30, 450, side * (n - 2), 410, side * (n + 8), 382, "Z")
        _cloth(d, a, front, colour)
        d.path(outline("M", side * 2, v_y, "L", side * -2, _BELOW), stroke=darker(colour, 0.7), width=1.8, opacity=0.7)
        if notch:
            lapel = outline("M", side * (n + 6), 378, "C", side * (n + 18), 384, side * (n + 28), 394,
                side * (n + 32), 402, "L", side * (n + 18), 418, "L", side * (n + 36), 424,
                "C", side * (n + 22), 458, side * 30, 484, side * 1, v_y + 8,
                "C", side * 26, 460, side * (n - 6), 420, side * (n + 6), 378, "Z")
        else:
            lapel = outline("M", side * (n + 6), 380, "C", side * (n + 18), 388, side * (n + 18), 396,
                side * (n + 14), 408, "C", side * (n + 2), 440, side * 26, 476, side * 8, v_y + 12,
                "L", side * 1, v_y + 4, "C", side * 26, 456, side * (n - 4), 416, side * (n + 6), 380, "Z")
        with d.group(transform="translate(2 5)"):
            d.path(lapel, darker(colour, 0.85), blur=4, opacity=0.4)
        near, far = (lighter(colour, 0.22), colour) if side < 0 else (lighter(colour, 0.08), darker(colour, 0.26))
        d.path(lapel, d.linear(CX + side * (n + 20), 384, CX, v_y, (0, near), (1, far)))
        d.path(lapel, stroke=darker(colour, 0.65), width=1.3, opacity=0.55)


def _blazer(d: Drawing, a: Anatomy) -> None:
    linen = "#f1ece4" if luminance(a.look.clothes) < 0.62 else "#41586b"
    if a.feminine > 0.7:
        _open_front(d, a, linen, 438)
        _lapels(d, a, a.look.clothes, 500, notch=True)
        return
    _open_front(d, a, linen, 420)
    _placket(d, linen, 420)
    _lapels(d, a, a.look.clothes, 498, notch=True)
    _collar(d, a, linen, 420, 24)


def _cardigan(d: Drawing, a: Anatomy) -> None:
    inner = mix(a.look.clothes, "#f6f0e6", 0.82)
    base = a.look.clothes
    n = a.neck
    x, y, depth = n + 6, 388.0, 30.0
    shape = outline(*_shoulders(a, x, y), "C", x - 8, y + depth * 0.75, x - 32, y + depth, 0, y + depth,
        "C", -x + 32, y + depth, -x + 8, y + depth * 0.75, -x, y, "Z")
    _cloth(d, a, shape, inner)
    d.path(outline("M", -x, y, "C", -x + 8, y + depth * 0.75, -x + 32, y + depth, 0, y + depth,
        "C", x - 32, y + depth, x - 8, y + depth * 0.75, x, y), stroke=darker(inner, 0.3), width=2.4, opacity=0.6)
    _lapels(d, a, base, 506, notch=False)


def _apron(d: Drawing, a: Anatomy) -> None:
    """A light shirt under a bib apron in the clothes' colour."""
    shirt = mix(a.look.clothes, "#f4efe6", 0.86)
    _open_front(d, a, shirt, 426)
    _placket(d, shirt, 426)
    _collar(d, a, shirt, 426, 28)
    colour = a.look.clothes
    for side in (-1, 1):
        strap = outline("M", side * (a.neck + 16), 394, "C", side * (a.neck + 20), 420, side * (a.neck + 16), 448,
            side * (a.neck + 14), 470, "L", side * (a.neck + 0), 470,
            "C", side * (a.neck + 2), 446, side * (a.neck + 4), 420, side * (a.neck + 3), 392, "Z")
        d.path(strap, d.linear(CX, 392, CX, 470, (0, darker(colour, 0.3)), (1, colour)))
    bib = outline("M", -a.neck - 22, 464, "L", a.neck + 22, 464, "L", a.neck + 52, _BELOW, "L", -a.neck - 52, _BELOW,
        "Z")
    with d.group(transform="translate(0 -4)"):
        d.path(bib, darker(shirt, 0.8), blur=4, opacity=0.35)
    d.path(bib, d.linear(CX - 70, 464, CX + 70, 520, (0, lighter(colour, 0.16)), (0.5, colour),
        (1, darker(colour, 0.3))))
    d.path(outline("M", -a.neck - 20, 471, "L", a.neck + 20, 471), stroke=lighter(colour, 0.4), width=1.2, opacity=0.6)


def _scarf_ends(d: Drawing, a: Anatomy) -> None:
    """The scarf around neck and chest."""
    cloth, s = a.look.hair, a.shoulder
    drape = outline("M", -a.temple - 4, 340, "C", -a.temple - 14, 390, -s * 0.72, 410, -s * 0.74, 444,
        "C", -70, 500, 70, 506, s * 0.66, 452, "C", s * 0.72, 410, a.temple + 14, 390, a.temple + 4, 340, "Z")
    with d.group(clip=d.clip(outline(*_shoulders(a, a.neck, 380), "Z")), transform="translate(0 9)"):
        d.path(drape, darker(a.look.clothes, 0.8), blur=5, opacity=0.5)
    d.path(drape, d.linear(CX - s * 0.7, 370, CX + s * 0.7, 490, (0, lighter(cloth, 0.18)), (0.45, cloth),
        (1, darker(cloth, 0.45))))
    with d.group(clip=d.clip(drape)):
        for x0, y0, x1, y1, x2, y2, x3, y3 in ((-90, 380, -70, 430, 10, 452, 96, 398),
            (-112, 408, -70, 456, 30, 470, 116, 420), (-124, 432, -70, 482, 40, 494, 124, 444),
            (-84, 360, -50, 414, 20, 430, 84, 372), (60, 400, 20, 440, -30, 470, -60, 486)):
            curve = outline("M", x0, y0, "C", x1, y1, x2, y2, x3, y3)
            d.path(curve, stroke=darker(cloth, 0.55), width=6, blur=3, opacity=0.5)
            with d.group(transform="translate(-1 -5)"):
                d.path(curve, stroke=lighter(cloth, 0.4), width=3, blur=1.6, opacity=0.3)


def _necklace(d: Drawing, a: Anatomy) -> None:
    n = a.neck
    chain = outline("M", -n - 6, 386, "C", -n + 10, 424, -14, 440, 0, 442, "C", 14, 440, n - 10, 424, n + 6, 386)
    with d.group(transform="translate(1 2)"):
        d.path(chain, stroke=a.skin.deep, width=2, opacity=0.5)
    d.path(chain, stroke="#d9b24c", width=1.7)
    d.ellipse(CX, 446, 4.6, 5.2, d.radial(CX - 1.5, 444, 5, 6, (0, "#fff1c4"), (0.6, "#d9a93c"), (1, "#9a6f1e")))


STYLES: dict[ClothesStyle, Callable[[Drawing, Anatomy], None]] = {
    "shirt": _shirt,
    "blazer": _blazer,
    "sweater": _sweater,
    "turtleneck": _turtleneck,
    "hoodie": _hoodie,
    "tee": _tee,
    "blouse": _blouse,
    "cardigan": _cardigan,
    "apron": _apron,
}
