"""Glasses and jewellery worn on the head."""

# fmt: off
from __future__ import annotations

from interbench.systems.puppet.figure.anatomy import CX, EYE_DX, EYE_Y, Anatomy, outline
from interbench.systems.puppet.figure.svg import Drawing


def draw_earrings(d: Drawing, a: Anatomy) -> None:
    """Below the ears, unless hair or a scarf hides them."""
    if a.look.hair_style in ("bob", "long", "wavy", "hijab"):
        return
    for side in (-1, 1):
        x = CX + side * (a.cheek + 1)
        if "studs" in a.look.accessories:
            d.ellipse(x, 259, 3.4, 3.4, d.radial(x - 1, 258, 3.6, 3.6, (0, "#ffffff"), (0.5, "#e6d9b8"),
                (1, "#a08a55")))
        if "hoops" in a.look.accessories:
            d.ellipse(x, 275, 10, 13, stroke="#8a641c", width=3.4)
            d.ellipse(x - 0.6, 274.4, 10, 13, stroke="#e3bc5a", width=2.2)


def draw_glasses(d: Drawing, a: Anatomy) -> None:
    accessories = a.look.accessories
    if "glasses" in accessories:
        _frames(d, a, round_lenses=False)
    elif "round_glasses" in accessories:
        _frames(d, a, round_lenses=True)


def _frames(d: Drawing, a: Anatomy, *, round_lenses: bool) -> None:
    colour = "#8c6a3f" if round_lenses else "#2b2623"
    width = 2.4 if round_lenses else 3.6
    y = EYE_Y + 2
    for side in (-1, 1):
        x = CX + side * EYE_DX
        if round_lenses:
            rim = outline("M", side * EYE_DX - 25, y, "C", side * EYE_DX - 25, y - 32, side * EYE_DX + 25, y - 32,
                side * EYE_DX + 25, y, "C", side * EYE_DX + 25, y + 32, side * EYE_DX - 25, y + 32,
                side * EYE_DX - 25, y, "Z")
        else:
            near, far = side * 13, side * 69
            rim = outline("M", near, y - 12, "C", near + side * 3, y - 19, far - side * 8, y - 21, far, y - 16,
                "C", far + side * 1, y + 6, far - side * 8, y + 21, far - side * 26, y + 21,
                "C", near + side * 14, y + 22, near, y + 10, near, y - 12, "Z")
        with d.group(transform="translate(1 4)"):
            d.path(rim, stroke=a.skin.deep, width=width, blur=1.8, opacity=0.4)
        d.path(rim, d.linear(x - 24, y - 20, x + 24, y + 22, (0, "#ffffff", 0.2), (0.42, "#ffffff", 0.03),
            (1, "#bcd3e6", 0.12)))
        with d.group(clip=d.clip(rim)):
            d.path(outline("M", side * EYE_DX - 22, y + 18, "L", side * EYE_DX - 4, y - 24,
                "L", side * EYE_DX + 5, y - 24, "L", side * EYE_DX - 13, y + 18, "Z"), "#ffffff", opacity=0.1)
        d.path(rim, stroke=colour, width=width)
        d.path(rim, stroke="#ffffff", width=0.8, opacity=0.22)
        arm = outline("M", side * (EYE_DX + (25 if round_lenses else 30)), y - 8, "L", side * (a.cheek - 1), y - 10)
        d.path(arm, stroke=colour, width=width)
    d.path(outline("M", -14, y - 5, "C", -8, y - 12, 8, y - 12, 14, y - 5), stroke=colour, width=width)
