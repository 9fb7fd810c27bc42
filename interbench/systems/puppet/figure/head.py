"""The head without its moving parts: skull, ears, skin, nose, folds and beard."""

# fmt: off
from __future__ import annotations

import math
import random

from interbench.systems.puppet.figure.anatomy import BROW_Y, CX, EYE_DX, EYE_Y, MOUTH_Y, NOSE_Y, Anatomy, outline
from interbench.systems.puppet.figure.palette import darker, lighter, luminance, mix
from interbench.systems.puppet.figure.svg import Drawing, points


def draw_head(d: Drawing, a: Anatomy, hair_shadow: tuple[str, ...]) -> None:
    """Ears and face. ``hair_shadow``: outlines that cast a shadow on the skin."""
    if a.look.hair_style != "hijab":
        _ear(d, a, left=True)
        with d.mirrored():
            _ear(d, a, left=False)
    skin, face = a.skin, a.face()
    d.path(face, d.linear(CX - 80, 120, CX + 86, 340, (0, skin.light), (0.38, skin.base), (0.75, skin.base),
        (1, skin.shade)))
    with d.group(clip=d.clip(face)):
        _volumes(d, a)
        for outline in hair_shadow:
            with d.group(transform="translate(3 9)"):
                d.path(outline, skin.deep, blur=6, opacity=0.5)
        _sockets(d, a)
        _folds(d, a)
        if a.look.facial_hair != "none":
            _beard(d, a)
        # The edge turns away from the light.
        d.path(face, stroke=skin.deep, width=7, blur=4, opacity=0.5)
    _nose(d, a)


def _ear(d: Drawing, a: Anatomy, *, left: bool) -> None:
    skin = a.skin
    x = CX - a.cheek + 3
    outline = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", *(x + 4, 216), *(x - 6, 204),
        *(x - 16, 209), *(x - 14, 229), *(x - 13, 246), *(x - 10, 259), *(x - 3, 262), *(x + 4, 263), *(x + 8, 250),
        *(x + 6, 236))
    near, far = (skin.light, skin.base) if left else (skin.base, skin.shade)
    d.path(outline, d.linear(x - 18, 205, x + 6, 262, (0, near), (1, far)))
    rim = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _", x - 1, 219, x - 7, 211, x - 11, 217, x - 10, 230, x - 9, 238,
        x - 8, 246, x - 5, 250)
    d.path(rim, stroke=skin.deep, width=2.0, opacity=0.45)
    hollow = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", x + 2, 226, x - 6, 224, x - 8, 237, x - 2, 246, x + 1,
        243, x + 4, 234, x + 2, 226)
    d.path(hollow, skin.deep, opacity=0.35)


def _volumes(d: Drawing, a: Anatomy) -> None:
    """Light from the upper left: planes of the face, blush, forehead."""
    skin = a.skin
    side = points("M _ 120 C _ 170 _ 210 _ 236 C _ 280 _ 310 _ 350 L _ 380 L _ 380 L _ 120 Z", CX + 70, CX + 58,
        CX + 60, CX + 64, CX + 58, CX + 44, CX + 22, CX + 10, CX + 110, CX + 110)
    d.path(side, skin.shade, blur=13, opacity=0.62)
    d.path(points("M _ 150 C _ 200 _ 250 _ 330 L _ 340 L _ 140 Z", CX - 84, CX - 76, CX - 80, CX - 60, CX - 110,
        CX - 110), skin.shade, blur=9, opacity=0.35)
    d.ellipse(CX - 14, 160, 50, 30, d.radial(CX - 14, 160, 50, 30, (0, skin.glow, 0.55), (1, skin.glow, 0)))
    for x, strength in ((CX - 52, 0.55), (CX + 50, 0.42)):
        d.ellipse(x, 266, 32, 24, d.radial(x, 266, 32, 24, (0, skin.blush, strength), (1, skin.blush, 0)))
    d.ellipse(CX - 50, 247, 25, 13, d.radial(CX - 50, 247, 25, 13, (0, skin.glow, 0.6), (1, skin.glow, 0), tilt=20),
        tilt=20)
    d.ellipse(CX + 46, 247, 19, 10, d.radial(CX + 46, 247, 19, 10, (0, skin.glow, 0.3), (1, skin.glow, 0)))
    # Chin, the hollow above it, and the shade under the jaw.
    chin_y = a.chin_y - 17
    d.ellipse(CX - 3, chin_y, 19, 12, d.radial(CX - 3, chin_y, 19, 12, (0, skin.glow, 0.5), (1, skin.glow, 0)))
    hollow_y = MOUTH_Y + 21
    d.ellipse(CX, hollow_y, 22, 6.5, d.radial(CX, hollow_y, 22, 6.5, (0, skin.deep, 0.42), (1, skin.deep, 0)))
    d.ellipse(CX, a.chin_y + 4, 56, 15, d.radial(CX, a.chin_y + 4, 56, 15, (0, skin.deep, 0.5),
        (1, skin.deep, 0)))


def _sockets(d: Drawing, a: Anatomy) -> None:
    skin = a.skin
    for side in (-1, 1):
        x = CX + side * EYE_DX
        inner = CX + side * 20
        d.ellipse(inner, 212, 15, 17, d.radial(inner, 212, 15, 17, (0, skin.deep, 0.4), (1, skin.deep, 0)))
        d.ellipse(x, 213, 31, 13, d.radial(x, 213, 31, 13, (0, skin.shade, 0.65), (1, skin.shade, 0)))
        d.ellipse(x, EYE_Y + 15, 25, 9, d.radial(x, EYE_Y + 15, 25, 9, (0, skin.shade, 0.5), (1, skin.shade, 0)))
        d.ellipse(x + side * 4, BROW_Y - 9, 24, 7, d.radial(x + side * 4, BROW_Y - 9, 24, 7, (0, skin.glow, 0.28),
            (1, skin.glow, 0)))


def _nose(d: Drawing, a: Anatomy) -> None:
    skin, w = a.skin, a.nose_half
    # Shaded far side of the bridge.
    d.path(points("M _ 206 C _ 226 _ 244 _ 262 C _ 268 _ 272 _ 274 L _ 275 C _ 262 _ 232 _ 206 Z", CX + 10, CX + 5,
        CX + 9, CX + w - 1, CX + w + 4, CX + w + 2, CX + w - 6, CX + 3, CX + 6, CX + 2, CX + 3), skin.shade,
        blur=2.6, opacity=0.85)
    d.path(points("M _ 204 C _ 226 _ 246 _ 258 L _ 260 C _ 246 _ 226 _ 204 Z", CX - 4, CX - 2, CX - 3, CX - 5,
        CX + 3, CX + 3, CX + 3, CX + 4), skin.glow, blur=2.2, opacity=0.7)
    # Shadow that the nose casts on the lip.
    d.path(points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", CX - w + 4, NOSE_Y + 4, CX - 6, NOSE_Y + 9, CX + 10,
        NOSE_Y + 9, CX + w + 2, NOSE_Y + 3, CX + w - 2, NOSE_Y + 13, CX + 2, NOSE_Y + 15, CX - w + 4, NOSE_Y + 4),
        skin.deep, blur=2.4, opacity=0.5)
    # Ball and wings.
    d.ellipse(CX - 1, 262, w * 0.72, 11, d.radial(CX - 3, 259, w * 0.8, 12, (0, skin.glow, 0.75),
        (0.6, skin.base, 0.4), (1, skin.base, 0)))
    for side, strength in ((-1, 0.55), (1, 0.75)):
        wing = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _", *(CX + side * (w - 4), NOSE_Y - 13),
            *(CX + side * (w + 3), NOSE_Y - 9), *(CX + side * (w + 3.5), NOSE_Y + 2),
            *(CX + side * (w - 2), NOSE_Y + 4.5), *(CX + side * (w - 6), NOSE_Y + 5.5),
            *(CX + side * (w - 8), NOSE_Y + 2), *(CX + side * (w - 9), NOSE_Y + 1))
        d.path(wing, stroke=skin.deep, width=1.8, opacity=strength)
        nostril = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", *(CX + side * 4, NOSE_Y + 5),
            *(CX + side * 5, NOSE_Y + 0.5), *(CX + side * (w - 7), NOSE_Y - 1), *(CX + side * (w - 5), NOSE_Y + 3.5),
            *(CX + side * (w - 8), NOSE_Y + 6), *(CX + side * 8, NOSE_Y + 4), *(CX + side * 4, NOSE_Y + 5))
        d.path(nostril, skin.line, opacity=0.75)
    d.path(points("M _ _ Q _ _ _ _", CX - 5, NOSE_Y + 5, CX, NOSE_Y + 8.5, CX + 5, NOSE_Y + 5), stroke=skin.deep,
        width=1.8, opacity=0.6)
    d.ellipse(CX - 4, 256, 4.5, 3.4, skin.glow, opacity=0.55)


def _folds(d: Drawing, a: Anatomy) -> None:
    """What the years draw: folds from nose to mouth, crow's feet, lines on the forehead."""
    skin, old = a.skin, a.old
    fold = 0.14 + 0.5 * old
    for side in (-1, 1):
        line = points("M _ _ C _ _ _ _ _ _", *(CX + side * (a.nose_half + 4), NOSE_Y - 2),
            *(CX + side * (a.nose_half + 15), NOSE_Y + 8), *(CX + side * (a.mouth_half + 10), MOUTH_Y - 8),
            *(CX + side * (a.mouth_half + 9), MOUTH_Y + 6))
        d.path(line, stroke=skin.deep, width=3.2, blur=1.6, opacity=fold)
        if old > 0.25:
            d.path(line, stroke=skin.deep, width=1.1, opacity=0.35 * old)
    d.path(points("M _ _ L _ _", CX, NOSE_Y + 12, CX, MOUTH_Y - 10), stroke=skin.shade, width=5, blur=1.6, opacity=0.45)
    if old < 0.15:
        return
    for side in (-1, 1):
        for index, (dx, dy) in enumerate(((10, -6), (12, 1), (10, 8))):
            x0, y0 = CX + side * (EYE_DX + a.eye_half + 5), EYE_Y + 2 + index * 4
            d.path(points("M _ _ Q _ _ _ _", x0, y0, x0 + side * dx * 0.6, y0 + dy * 0.3, x0 + side * dx, y0 + dy),
                stroke=skin.deep, width=1.2, opacity=0.42 * old)
        d.path(points("M _ _ Q _ _ _ _", CX + side * 24, EYE_Y + 17, CX + side * 38, EYE_Y + 26, CX + side * 54,
            EYE_Y + 19), stroke=skin.deep, width=1.5, blur=0.7, opacity=0.4 * old)
    for index in range(3):
        y = 150 + index * 12
        d.path(points("M _ _ C _ _ _ _ _ _", CX - 40 + index * 3, y + 2, CX - 18, y - 4, CX + 16, y - 4,
            CX + 40 - index * 3, y + 2), stroke=skin.deep, width=1.4, blur=0.6, opacity=0.36 * old)


def _beard(d: Drawing, a: Anatomy) -> None:
    """Stubble, goatee or full beard: a soft ground with hairs on it. The moustache is drawn with the mouth."""
    hair = a.look.hair
    kind = a.look.facial_hair
    chin_y = a.chin_y
    rng = random.Random(7)  # noqa: S311 - decoration
    if kind == "moustache":
        return
    if kind in ("stubble", "beard"):
        top = 252 if kind == "beard" else 262
        edge = a.cheek + 6
        area = outline("M", -edge, top - 22, "C", -72, 268, -60, 284, -38, 283, "C", -22, 281, 22, 281, 38, 283,
            "C", 60, 284, 72, 268, edge, top - 22, "C", 110, 330, 60, chin_y + 22, 0, chin_y + 22,
            "C", -60, chin_y + 22, -110, 330, -edge, top - 22, "Z")
    else:
        area = outline("M", -36, 288, "C", -20, 280, 20, 280, 36, 288, "C", 44, 312, 40, chin_y + 4, 0, chin_y + 10,
            "C", -40, chin_y + 4, -44, 312, -36, 288, "Z")
    strength = 0.26 if kind == "stubble" else 0.93
    soft = 6.0 if kind == "stubble" else 3.2
    ground = mix(hair, a.skin.shade, 0.35) if kind == "stubble" else hair
    d.path(area, ground, blur=soft, opacity=strength)
    if kind == "stubble":
        return
    with d.group(clip=d.clip(area)):
        d.ellipse(CX - 22, 318, 60, 46, d.radial(CX - 26, 312, 60, 50, (0, lighter(hair, 0.22), 0.7), (1, hair, 0)))
        d.ellipse(CX + 30, chin_y, 50, 40, d.radial(CX + 34, chin_y, 54, 44, (0, darker(hair, 0.55), 0.8),
            (1, hair, 0)))
        glint = lighter(hair, 0.3 if luminance(hair) < 0.5 else 0.5)
        for _ in range(150):
            angle = rng.uniform(-1.25, 1.25)
            radius = rng.uniform(0.55, 1.05)
            x = CX + math.sin(angle) * 76 * radius
            y = 262 + math.cos(angle) * (chin_y - 258) * radius
            dx, dy = (x - CX) * 0.05, rng.uniform(6, 11)
            d.path(points("M _ _ q _ _ _ _", x, y, dx * 0.2, dy * 0.6, dx + rng.uniform(-2, 2), dy),
                stroke=rng.choice((glint, darker(hair, 0.4))), width=1.1, opacity=0.34)
    hollow_y = MOUTH_Y + 19
    d.ellipse(CX, hollow_y, 17, 4, d.radial(CX, hollow_y, 17, 4, (0, a.skin.base, 0.55), (1, a.skin.base, 0)))
