"""The moving parts of a face: eyes, brows and mouth, each drawn for one setting of its parameters."""

# fmt: off
from __future__ import annotations

from typing import NamedTuple

from interbench.systems.puppet.figure.anatomy import BROW_Y, CX, EYE_DX, EYE_Y, JAW_DROP, MOUTH_Y, Anatomy
from interbench.systems.puppet.figure.palette import darker, lighter, luminance, mix
from interbench.systems.puppet.figure.svg import Box, Drawing, points

EYES_BOX = Box(186, 200, 140, 50)
BROWS_BOX = Box(182, 172, 148, 46)
MOUTH_BOX = Box(204, 268, 104, 80)


class Eyes(NamedTuple):
    """``lid`` 0 closed to 1 open; ``squint`` 0..1 lifts the lower lid; gaze in pixels, right and down positive."""

    lid: float = 1.0
    squint: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


class Brows(NamedTuple):
    """``lift`` -1..1; ``inner`` -1..1 lifts the inner ends (worry) or lowers them (frown)."""

    lift: float = 0.0
    inner: float = 0.0


class Mouth(NamedTuple):
    """One shape of the mouth.

    ``open`` 0..1 jaw; ``spread`` -1 (rounded) to 1; ``smile`` -1..1; ``press`` 0..1 lips pressed together;
    ``tuck`` 0..1 lower lip under the upper teeth; ``teeth`` 0..1; ``tongue`` 0..1 its tip lifted to the teeth.
    """

    open: float = 0.0
    spread: float = 0.0
    smile: float = 0.0
    press: float = 0.0
    tuck: float = 0.0
    teeth: float = 0.0
    tongue: float = 0.0


def draw_eyes(d: Drawing, a: Anatomy, eyes: Eyes) -> None:
    _eye(d, a, eyes, eyes.gaze_x)
    with d.mirrored():
        _eye(d, a, eyes, -eyes.gaze_x)


def _eye(d: Drawing, a: Anatomy, eyes: Eyes, gaze_x: float) -> None:
    """The eye on the left of the picture; its inner corner lies to the right."""
    skin, x, y = a.skin, CX - EYE_DX, EYE_Y
    half, fem = a.eye_half, a.feminine
    outer, inner = x - half, x + half - 0.5
    outer_y, inner_y = y - 0.5 - 1.2 * fem, y + 3.0
    lift = a.eye_open * eyes.lid
    top = outer_y + 1.5 - lift * 0.98 + (1 - eyes.lid) * 5.5
    bottom = y + 8.8 - 3.8 * eyes.squint
    if eyes.lid < 0.3:
        bottom = max(bottom - 1.0, top + 1.0)
    upper = points("C _ _ _ _ _ _", outer + 5, top + 0.5, x - 1, top - 3.5, x + 8, top + 1.0)
    upper += points(" C _ _ _ _ _ _", x + 13, top + 3.5, inner - 3, inner_y - 4, inner, inner_y)
    lower = points("C _ _ _ _ _ _", inner - 5, bottom - 0.5, x + 8, bottom, x + 1, bottom)
    lower += points(" C _ _ _ _ _ _", x - 9, bottom, outer + 4, bottom - 3.5, outer, outer_y)
    start = points("M _ _", outer, outer_y)
    opening = f"{start} {upper} {lower} Z"

    # The lid: skin between the crease and the lashes.
    crease_y = y - a.eye_open - 5.0 + 2.5 * (1 - eyes.lid)
    lid = (points("M _ _ C _ _ _ _ _ _", outer - 2, outer_y - 1, outer + 4, crease_y + 1, x - 2, crease_y - 2.5,
        x + 9, crease_y + 1.5) + points(" C _ _ _ _ _ _", x + 15, crease_y + 4, inner - 1, inner_y - 6, inner + 1,
        inner_y - 1) + " " + _reversed_upper(outer, outer_y, x, top, inner, inner_y) + " Z")
    d.path(lid, d.linear(x, crease_y - 2, x, max(top, crease_y + 3), (0, skin.shade, 0.5), (0.6, skin.light, 0.55),
        (1, skin.shade, 0.8)))
    crease = points("M _ _ C _ _ _ _ _ _", outer - 1, outer_y - 3, outer + 5, crease_y + 1, x - 2, crease_y - 2.5,
        x + 9, crease_y + 1.5)
    crease += points(" C _ _ _ _ _ _", x + 14, crease_y + 3.5, inner - 4, inner_y - 9, inner - 2, inner_y - 6)
    d.path(crease, stroke=skin.deep, width=1.7, opacity=0.62)

    if eyes.lid > 0.12:
        with d.group(clip=d.clip(opening)):
            d.rect(outer - 4, y - 24, 2 * half + 8, 44, d.linear(x, top, x, bottom, (0, "#c9c0bd"),
                (0.35, "#f6f1ec"), (1, "#e9e0db")))
            ix, iy = x + 0.8 + gaze_x, y - 1.2 + eyes.gaze_y
            _iris(d, a.look.eyes, ix, iy, 10.6)
            # The lid's shadow on the eyeball.
            for width, opacity in ((9.0, 0.12), (6.5, 0.16), (4.0, 0.2)):
                d.path(f"{start} {upper}", stroke="#2a1b1c", width=width, opacity=opacity)
            d.ellipse(inner - 1.2, inner_y + 0.3, 3.6, 2.7, mix(skin.blush, "#e9a79c", 0.5), opacity=0.85)
            d.ellipse(ix - 3.4, iy - 4.0, 2.9, 3.1, "#ffffff", opacity=0.96)
            d.ellipse(ix + 3.8, iy + 4.0, 1.5, 1.5, "#ffffff", opacity=0.6)

    # Lashes: a band that is thickest over the outer third.
    lash = mix("#1d1413", a.brow_colour, 0.15)
    thick = 2.6 + 1.2 * fem
    band = (points("M _ _", outer - 1.5 - 2.2 * fem, outer_y - 0.5 - 1.6 * fem) + points(" C _ _ _ _ _ _", outer + 4,
        top - thick + 0.8, x - 1, top - 3.5 - thick, x + 8, top + 1.0 - thick * 0.8) + points(" C _ _ _ _ _ _",
        x + 13, top + 3.5 - thick * 0.5, inner - 3, inner_y - 4.4, inner, inner_y) + " " + _reversed_upper(outer,
        outer_y, x, top, inner, inner_y) + " Z")
    d.path(band, lash)
    if fem > 0.3:
        droop = 1 - eyes.lid
        for dx, dy, reach in ((-1.0, 0.5, 5.6), (3.0, -3.2, 6.0), (8.0, -6.0, 5.2)):
            bx, by = outer + dx, outer_y + dy * eyes.lid + 3.2 * droop
            d.path(points("M _ _ q _ _ _ _", bx, by, -2.6, -1.2 * eyes.lid + 1.4 * droop, -reach,
                -3.4 * eyes.lid + 2.6 * droop), stroke=lash, width=1.5, opacity=0.9 * fem)
    d.path(points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _", inner - 4, inner_y + 2.6, x + 10, bottom + 0.5, x + 6,
        bottom + 0.6, x + 1, bottom + 0.5, x - 8, bottom + 0.4, outer + 5, bottom - 3, outer + 1, outer_y + 1.4),
        stroke=mix(skin.line, lash, 0.3), width=1.25, opacity=0.55)
    if eyes.squint > 0.2:
        d.path(points("M _ _ Q _ _ _ _", outer + 5, bottom + 4.5, x, bottom + 8, inner - 6, bottom + 4.5),
            stroke=skin.deep, width=1.4, opacity=0.4 * eyes.squint)


def _reversed_upper(outer: float, outer_y: float, x: float, top: float, inner: float, inner_y: float) -> str:
    """The upper lid's edge from the inner to the outer corner."""
    return points("L _ _ C _ _ _ _ _ _", inner, inner_y, inner - 3, inner_y - 4, x + 13, top + 3.5, x + 8,
        top + 1.0) + points(" C _ _ _ _ _ _", x - 1, top - 3.5, outer + 5, top + 0.5, outer, outer_y)


def _iris(d: Drawing, colour: str, x: float, y: float, r: float) -> None:
    d.ellipse(x, y, r, r, d.radial(x, y + 2, r, r, (0, lighter(colour, 0.35)), (0.55, colour),
        (0.86, darker(colour, 0.45)), (1, darker(colour, 0.8))))
    d.ellipse(x, y + 4.2, r * 0.62, r * 0.42, d.radial(x, y + 5, r * 0.65, r * 0.5, (0, lighter(colour, 0.65), 0.75),
        (1, colour, 0)))
    d.ellipse(x, y, r * 0.46, r * 0.46, "#120c0c")


def draw_brows(d: Drawing, a: Anatomy, brows: Brows) -> None:
    _brow(d, a, brows)
    with d.mirrored():
        _brow(d, a, brows)


def _brow(d: Drawing, a: Anatomy, brows: Brows) -> None:
    thick = a.brow_thick
    y = BROW_Y - 7.5 * brows.lift
    x_in, x_mid, x_out = CX - 16.5 + max(0.0, -brows.inner) * 3, CX - 46, CX - 66
    y_in, y_out = y - 0.6 - 7.0 * brows.inner, y + 3.5 + 2.5 * brows.inner
    y_mid = y - 5.6 - 0.8 * a.feminine + 1.0 * brows.inner
    shape = (points("M _ _", x_in, y_in - thick * 0.55) + points(" C _ _ _ _ _ _", CX - 28, y_in - thick * 0.8 - 2.5,
        x_mid + 8, y_mid - thick * 0.5, x_mid, y_mid - thick * 0.38) + points(" C _ _ _ _ _ _", x_mid - 8, y_mid,
        x_out + 5, y_out - 4, x_out, y_out) + points(" C _ _ _ _ _ _", x_out + 7, y_out - 1.5, x_mid - 6,
        y_mid + thick * 0.8, x_mid + 2, y_mid + thick * 0.8) + points(" C _ _ _ _ _ _", x_mid + 12,
        y_mid + thick * 0.85 + 0.5, CX - 27, y_in + thick * 0.6, x_in - 2,
        y_in + thick * 0.6) + points(" C _ _ _ _ _ _ Z", x_in + 2.5, y_in + thick * 0.5, x_in + 2.5,
        y_in - thick * 0.4, x_in, y_in - thick * 0.55))
    colour = a.brow_colour
    d.path(shape, colour, blur=1.5, opacity=0.5)
    d.path(shape, d.linear(x_in, y, x_out, y, (0, colour, 0.55), (0.25, colour, 0.95), (1, colour, 0.9)))
    tip = lighter(colour, 0.28)
    for step in range(11):
        t = step / 10
        px = x_in - 2 + (x_out + 7 - x_in) * t
        py = (1 - t) ** 2 * y_in + 2 * t * (1 - t) * (y_mid - 3) + t**2 * y_out + thick * 0.35
        d.path(points("M _ _ q _ _ _ _", px, py, -1.0 - 2 * t, -thick * 0.7, -3.0 - 4 * t, -thick * (1.0 - 0.5 * t)),
            stroke=tip if step % 3 == 0 else darker(colour, 0.3), width=0.9, opacity=0.5)


def mouth_drop(mouth: Mouth) -> float:
    """How far the chin sinks for this mouth, in pixels."""
    return JAW_DROP * mouth.open


def draw_mouth(d: Drawing, a: Anatomy, m: Mouth) -> None:
    skin, lips = a.skin, a.look.lips
    pucker, wide = max(0.0, -m.spread), max(0.0, m.spread)
    half = a.mouth_half * (1 + 0.13 * wide - 0.31 * pucker + 0.13 * max(0.0, m.smile) - 0.06 * m.open)
    corner_y = MOUTH_Y - 4.6 * m.smile + 5.0 * m.open
    gap = m.open * 27
    seam_y = MOUTH_Y + 0.8 + 1.6 * m.smile
    up_in = seam_y - 3.2 * m.open - 0.8 * m.smile
    low_in = seam_y + gap - 3.2 * m.open
    squash = 1 - 0.45 * m.press
    up_h = a.lip_upper * squash * (1 + 0.32 * pucker) - 1.0 * max(0.0, m.smile)
    low_h = (a.lip_lower * squash * (1 + 0.22 * pucker) - 1.2 * max(0.0, m.smile)) * (1 - 0.5 * m.tuck)
    if m.tuck > 0:
        low_in = low_in * (1 - m.tuck) + (up_in + 2.8) * m.tuck
    left, right = CX - half, CX + half

    inner_top = points("C _ _ _ _ _ _ C _ _ _ _ _ _", left + half * 0.35, up_in - 1.2, CX - half * 0.3, up_in - 0.6,
        CX, up_in + 0.6, CX + half * 0.3, up_in - 0.6, right - half * 0.35, up_in - 1.2, right, corner_y)
    inner_low = points("C _ _ _ _ _ _ C _ _ _ _ _ _", right - half * 0.28, low_in - 0.16 * gap, CX + half * 0.45,
        low_in, CX, low_in, CX - half * 0.45, low_in, left + half * 0.28, low_in - 0.16 * gap, left, corner_y)
    start = points("M _ _", left, corner_y)
    cavity = f"{start} {inner_top} {inner_low} Z"
    if gap > 0.8 or m.tuck > 0:
        _inside(d, a, m, cavity, up_in, low_in, half, gap)

    # Upper lip: two peaks and the dip between them.
    peak = up_in - up_h
    outer_top = points("C _ _ _ _ _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ C _ _ _ _ _ _",
        *(left + half * 0.3, corner_y - 2.5 - up_h * 0.2), *(CX - half * 0.38, peak + 0.6), *(CX - half * 0.2, peak),
        *(CX - half * 0.12, peak - 0.2), *(CX - half * 0.06, peak + up_h * 0.24), *(CX, peak + up_h * 0.24),
        *(CX + half * 0.06, peak + up_h * 0.24), *(CX + half * 0.12, peak - 0.2), *(CX + half * 0.2, peak),
        *(CX + half * 0.38, peak + 0.6), *(right - half * 0.3, corner_y - 2.5 - up_h * 0.2), *(right, corner_y))
    back_top = points("C _ _ _ _ _ _ C _ _ _ _ _ _", right - half * 0.35, up_in - 1.2, CX + half * 0.3, up_in - 0.6,
        CX, up_in + 0.6, CX - half * 0.3, up_in - 0.6, left + half * 0.35, up_in - 1.2, left, corner_y)
    upper = f"{start} {outer_top} {back_top} Z"
    d.path(upper, d.linear(CX, peak, CX, up_in + 1, (0, mix(lips, skin.base, 0.18)), (0.5, lips),
        (1, darker(lips, 0.3))))
    # Lower lip: rounder, catching light from above.
    base = low_in + low_h
    back_low = points("C _ _ _ _ _ _ C _ _ _ _ _ _", left + half * 0.28, low_in - 0.16 * gap, CX - half * 0.45,
        low_in, CX, low_in, CX + half * 0.45, low_in, right - half * 0.28, low_in - 0.16 * gap, right, corner_y)
    outer_low = points("C _ _ _ _ _ _ C _ _ _ _ _ _", *(right - half * 0.22, corner_y + 3.2 + gap * 0.35),
        *(CX + half * 0.5, base), *(CX, base), *(CX - half * 0.5, base),
        *(left + half * 0.22, corner_y + 3.2 + gap * 0.35), *(left, corner_y))
    lower = f"{start} {back_low} {outer_low} Z"
    d.path(lower, d.linear(CX, low_in, CX, base, (0, darker(lips, 0.16)), (0.4, lighter(lips, 0.1)),
        (1, mix(lips, skin.shade, 0.35))))
    shine = 0.42 + 0.2 * a.feminine
    d.ellipse(CX - 4, low_in + low_h * 0.45, half * 0.36, max(1.2, low_h * 0.22),
        d.radial(CX - 4, low_in + low_h * 0.45, half * 0.36, max(1.2, low_h * 0.24), (0, "#fff4ee", shine),
        (1, "#fff4ee", 0)))

    seam = mix(darker(lips, 0.72), "#2a1010", 0.4)
    if gap <= 2.2 and m.tuck < 0.5:
        d.path(f"{start} {inner_top}", stroke=seam, width=1.9 - 0.4 * m.press, opacity=0.9)
    else:
        d.path(f"{start} {inner_top}", stroke=seam, width=1.0, opacity=0.55)
    for x, side in ((left, -1), (right, 1)):
        d.ellipse(x + side * 0.5, corner_y + 0.3, 4.2, 3.2, d.radial(x + side * 0.5, corner_y + 0.3, 4.2, 3.2,
            (0, skin.line, 0.6), (1, skin.line, 0)))
        if m.smile > 0.1:
            d.path(points("M _ _ q _ _ _ _", x + side * 6, corner_y - 6, side * 4.5, 6, side * 0.5, 11),
                stroke=skin.deep, width=1.7, opacity=0.5 * m.smile)
    if a.look.facial_hair in ("moustache", "goatee", "beard"):
        _moustache(d, a, peak)


def _inside(d: Drawing, a: Anatomy, m: Mouth, cavity: str, up_in: float, low_in: float, half: float,
    gap: float) -> None:
    with d.group(clip=d.clip(cavity)):
        d.rect(CX - 50, up_in - 10, 100, gap + 24, d.linear(CX, up_in, CX, low_in + 2, (0, "#2b0c10"),
            (1, "#5e2024")))
        tongue_y = low_in - 1.5 - (gap * 0.42) * m.tongue
        d.ellipse(CX, tongue_y + 7, half * 0.66, 9.5 + gap * 0.12,
            d.radial(CX - 2, tongue_y + 2, half * 0.7, 12, (0, "#d97f7c"), (1, "#a64c50")))
        if m.open > 0.62:
            d.path(points("M _ _ Q _ _ _ _ L _ _ Q _ _ _ _ Z", CX - half * 0.55, low_in - 1.5, CX, low_in - 7.5,
                CX + half * 0.55, low_in - 1.5, CX + half * 0.5, low_in + 3, CX, low_in + 1, CX - half * 0.5,
                low_in + 3), "#e5ddd4", opacity=0.85)
        edge = up_in + 1.5 + min(8.5, 2.2 + gap * 0.42) * max(m.teeth, 0.12 + 0.88 * m.tuck)
        row = points("M _ _ L _ _ L _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", CX - half * 0.8, up_in - 5, CX + half * 0.8,
            up_in - 5, CX + half * 0.78, edge - 2.8, CX + half * 0.5, edge, CX + 8, edge + 0.4, CX, edge + 0.4,
            CX - 8, edge + 0.4, CX - half * 0.5, edge, CX - half * 0.78, edge - 2.8)
        d.path(row, d.linear(CX, up_in - 2, CX, edge, (0, "#cfc4bb"), (0.5, "#f8f4ee"), (1, "#ece5dc")))
        for offset in (-13.5, -7.2, 0, 7.2, 13.5):
            d.path(points("M _ _ L _ _", CX + offset, up_in - 1, CX + offset, edge - 1), stroke="#b9aca2", width=0.7,
                opacity=0.32)
        # The lip's shadow on the teeth.
        d.rect(CX - 40, up_in - 4, 80, 6.5, d.linear(CX, up_in - 2, CX, up_in + 2.5, (0, "#2b0c10", 0.6),
            (1, "#2b0c10", 0)))


def _moustache(d: Drawing, a: Anatomy, peak: float) -> None:
    hair = a.look.hair
    top, bottom = MOUTH_Y - 22.5, peak + 3.2
    full = a.look.facial_hair == "moustache"
    reach = a.mouth_half + (7 if full else 5)
    end_y = MOUTH_Y + (1.5 if full else 6)
    shape = points("M _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ C _ _ _ _ _ _ Z", *(CX, top + 1.5),
        *(CX + 12, top - 0.5), *(CX + reach - 4, top + 8), *(CX + reach, end_y), *(CX + reach - 9, bottom + 4),
        *(CX + 10, bottom), *(CX, bottom + 0.4), *(CX - 10, bottom), *(CX - reach + 9, bottom + 4),
        *(CX - reach, end_y), *(CX - reach + 4, top + 8), *(CX - 12, top - 0.5), *(CX, top + 1.5))
    d.path(shape, hair, blur=1.3, opacity=0.75)
    d.path(shape, d.linear(CX - reach, top, CX + reach, end_y, (0, lighter(hair, 0.14)), (0.5, hair),
        (1, darker(hair, 0.3))), opacity=0.92)
    glint = lighter(hair, 0.3 if luminance(hair) < 0.5 else 0.5)
    for side in (-1, 1):
        for step in range(9):
            x = CX + side * (2 + step * 3.6)
            d.path(points("M _ _ q _ _ _ _", x, top + 3 + step * 0.9, side * 2, 6, side * (3 + step * 0.5), 10),
                stroke=glint if step % 2 else darker(hair, 0.4), width=1.0, opacity=0.36)
