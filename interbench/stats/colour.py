"""sRGB and CIELAB (D65, 2° observer; IEC 61966-2-1 and CIE 15)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.floating]
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_BEND = 6 / 29


def lab_of(srgb: _Floats) -> npt.NDArray[np.float64]:
    """CIELAB of sRGB in 0..1; the last axis is R, G, B."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ _TO_XYZ.T) / _WHITE
    f = np.where(xyz > _BEND**3, np.cbrt(xyz), xyz / (3 * _BEND**2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    lab: npt.NDArray[np.float64] = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab


def srgb_of(lab: _Floats) -> npt.NDArray[np.float64]:
    """sRGB in 0..1 of CIELAB, cut to the gamut."""
    lightness, a, b = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(f > _BEND, f**3, 3 * _BEND**2 * (f - 4 / 29)) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0.0, 1.0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    srgb: npt.NDArray[np.float64] = np.clip(coded, 0.0, 1.0)
    return srgb


def delta_e(one: _Floats, other: _Floats) -> npt.NDArray[np.float64]:
    """CIE 1976 colour difference of two arrays of CIELAB."""
    distance: npt.NDArray[np.float64] = np.linalg.norm(np.asarray(one) - np.asarray(other), axis=-1)
    return distance
