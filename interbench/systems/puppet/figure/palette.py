"""Colour arithmetic on ``#rrggbb`` strings."""

from __future__ import annotations

import colorsys


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def hexed(red: float, green: float, blue: float) -> str:
    """From channels in 0..255, clipped."""
    return "#" + "".join(f"{round(min(255.0, max(0.0, value))):02x}" for value in (red, green, blue))


def mix(first: str, second: str, share: float) -> str:
    """``first`` with ``share`` (0..1) of ``second``."""
    return hexed(*(a + (b - a) * share for a, b in zip(rgb(first), rgb(second), strict=True)))


def lighter(colour: str, share: float) -> str:
    return mix(colour, "#fff6ea", share)


def darker(colour: str, share: float) -> str:
    """Towards a deep, cooler version of itself, as shade does outdoors and indoors."""
    red, green, blue = rgb(colour)
    return mix(colour, hexed(red * 0.16, green * 0.12, blue * 0.2), share)


def luminance(colour: str) -> float:
    """Perceived brightness in 0..1."""
    red, green, blue = rgb(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def turned(colour: str, degrees: float) -> str:
    """The colour with its hue turned."""
    hue, light, saturation = colorsys.rgb_to_hls(*(value / 255 for value in rgb(colour)))
    return hexed(*(value * 255 for value in colorsys.hls_to_rgb((hue + degrees / 360) % 1, light, saturation)))


class Skin:
    """The tones of one complexion."""

    def __init__(self, base: str) -> None:
        red, green, blue = rgb(base)
        dark = 1 - luminance(base)
        self.base = base
        self.light = mix(base, "#ffefe0", 0.32 - 0.14 * dark)
        self.shade = hexed(red * 0.80, green * 0.66, blue * 0.62)
        self.deep = hexed(red * 0.58, green * 0.40, blue * 0.38)
        self.line = hexed(red * 0.40, green * 0.25, blue * 0.24)
        self.blush = mix(base, "#e0483e", 0.42 - 0.1 * dark)
        self.glow = mix(base, "#fff3e4", 0.62 - 0.25 * dark)
