"""High dynamic range brought to what an ordinary screen shows.

Players do this in their own ways; here: white of 203 cd/m2 (ITU-R BT.2408) becomes white but for a shoulder, brighter
light is compressed into it, colours keep their hue, and primaries of BT.2020 become those of BT.709. Sources: SMPTE ST
2084 (PQ), ITU-R BT.2100 (HLG), BT.2087 (primaries), IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation

_PQ, _HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
_WHITE = 203.0
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
_KNEE = 0.6
_TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)


def is_hdr(frame: av.VideoFrame) -> bool:
    return frame.color_trc in (_PQ, _HLG)


def ordinary(frame: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
    """An HDR frame scaled and brought to sRGB, ``[height, width, 3]``."""
    scaled = frame.reformat(width, height, "rgb48le", interpolation=Interpolation.AREA)
    levels = np.arange(65536, dtype=np.float64) / 65535
    light = (_pq(levels) if frame.color_trc == _PQ else _hlg(levels)).astype(np.float32)
    linear = light[scaled.to_ndarray()]
    if frame.color_trc == _HLG:
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear = linear * (np.maximum(luminance, 1e-6) ** (_HLG_GAMMA - 1))[..., None] * (_HLG_PEAK / _WHITE)
    if frame.color_primaries == int(ColorPrimaries.BT2020):
        linear = np.maximum(linear @ _TO_709.T, 0)
    brightest = np.maximum(linear.max(axis=-1, keepdims=True), 1e-6)
    over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    shown = linear * np.where(brightest > _KNEE, (_KNEE + (1 - _KNEE) * over / (1 + over)) / brightest, 1)
    encoded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    pixels: npt.NDArray[np.uint8] = (encoded.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def _pq(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Light over that of white."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = value ** (1 / m2)
    light: npt.NDArray[np.float64] = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE
    return light


def _hlg(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Light of the scene, 1 at its peak."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light: npt.NDArray[np.float64] = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return light
