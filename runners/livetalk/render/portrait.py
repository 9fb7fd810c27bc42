"""A neutral portrait for conversations that bring no picture."""

from __future__ import annotations

from PIL import Image, ImageDraw

_SCALE = 4  # drawn larger and reduced, which smooths every edge


def portrait(size: int = 512) -> Image.Image:
    """A plain drawn person who looks into the camera, RGB [size, size]."""
    side = size * _SCALE
    picture = Image.new("RGB", (side, side), (203, 210, 218))
    draw = ImageDraw.Draw(picture)

    def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        return (x0 * side, y0 * side, x1 * side, y1 * side)

    skin, shade, hair, shirt = (226, 184, 158), (203, 156, 131), (74, 58, 50), (72, 98, 128)
    draw.ellipse(box(0.25, 0.07, 0.75, 0.72), fill=hair)
    draw.rounded_rectangle(box(0.12, 0.80, 0.88, 1.30), radius=0.18 * side, fill=shirt)
    draw.rounded_rectangle(box(0.42, 0.62, 0.58, 0.86), radius=0.07 * side, fill=shade)
    draw.polygon([(x * side, y * side) for x, y in ((0.40, 0.80), (0.60, 0.80), (0.50, 0.92))], fill=shade)
    draw.ellipse(box(0.27, 0.38, 0.34, 0.52), fill=shade)
    draw.ellipse(box(0.66, 0.38, 0.73, 0.52), fill=shade)
    draw.ellipse(box(0.30, 0.14, 0.70, 0.74), fill=skin)
    draw.pieslice(box(0.28, 0.08, 0.72, 0.52), 180, 360, fill=hair)
    draw.ellipse(box(0.31, 0.22, 0.69, 0.46), fill=skin)
    for centre in (0.41, 0.59):
        draw.ellipse(box(centre - 0.042, 0.395, centre + 0.042, 0.445), fill=(247, 245, 242))
        draw.ellipse(box(centre - 0.021, 0.398, centre + 0.021, 0.442), fill=(86, 104, 92))
        draw.ellipse(box(centre - 0.010, 0.410, centre + 0.010, 0.430), fill=(24, 24, 26))
        draw.arc(box(centre - 0.06, 0.335, centre + 0.06, 0.42), 205, 335, fill=hair, width=side // 90)
    draw.line([(0.50 * side, 0.44 * side), (0.485 * side, 0.53 * side)], fill=shade, width=side // 110)
    draw.arc(box(0.465, 0.50, 0.535, 0.55), 20, 160, fill=shade, width=side // 110)
    draw.chord(box(0.415, 0.545, 0.585, 0.655), 15, 165, fill=(178, 98, 92))
    draw.arc(box(0.41, 0.545, 0.59, 0.632), 25, 155, fill=(128, 62, 60), width=side // 150)
    return picture.resize((size, size), Image.Resampling.LANCZOS)
