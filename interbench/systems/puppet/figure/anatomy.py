"""The measures of a figure, taken from its persona. Pixels of the 512 by 512 picture; the face looks straight at us."""

from __future__ import annotations

from dataclasses import dataclass

from interbench.domain.persona import FaceShape, Look, Persona
from interbench.systems.puppet.figure.palette import Skin, darker, luminance, mix
from interbench.systems.puppet.figure.svg import number, points

CX = 256.0
EYE_Y = 224.0
EYE_DX = 39.0
BROW_Y = 197.0
NOSE_Y = 270.0
MOUTH_Y = 299.0
CROWN_Y = 98.0
JAW_DROP = 15.0
"""How far the chin sinks when the mouth is wide open."""

# Half widths at temple, cheek, jaw corner and chin, and how far the chin lies below the average.
_SHAPES: dict[FaceShape, tuple[float, float, float, float, float]] = {
    "oval": (79, 82, 63, 25, 0),
    "round": (81, 87, 69, 28, -4),
    "square": (80, 83, 71, 34, 1),
    "heart": (82, 83, 58, 20, 1),
    "long": (76, 78, 61, 26, 8),
}


def outline(*parts: float | str) -> str:
    """A path with x relative to the middle: letters start segments, numbers come in pairs."""
    words: list[str] = []
    is_x = True
    for part in parts:
        if isinstance(part, str):
            words.append(part)
            is_x = True
        else:
            words.append(number(part + CX if is_x else part))
            is_x = not is_x
    return " ".join(words)


@dataclass(frozen=True)
class Anatomy:
    """What the drawing code needs to know of a person."""

    look: Look
    skin: Skin
    age: int
    feminine: float
    """0 to 1: fuller lips and longer lashes against heavier brows and a broader neck."""
    temple: float
    cheek: float
    jaw: float
    chin: float
    chin_y: float
    neck: float
    shoulder: float
    eye_half: float
    eye_open: float
    lip_upper: float
    lip_lower: float
    mouth_half: float
    nose_half: float
    brow_thick: float
    brow_colour: str

    @classmethod
    def of(cls, persona: Persona, look: Look) -> Anatomy:
        feminine = {"female": 1.0, "male": 0.0, "nonbinary": 0.55}[persona.gender]
        temple, cheek, jaw, chin, drop = _SHAPES[look.face_shape]
        masculine = 1 - feminine
        hair_is_scarf = look.hair_style == "hijab"
        brow = look.brows or ("#33261f" if hair_is_scarf else darker(look.hair, 0.25))
        if look.brows is None and luminance(brow) > 0.5:
            brow = mix(brow, "#7d746c", 0.6)
        old = min(1.0, max(0.0, (persona.age - 40) / 35))
        return cls(
            look=look,
            skin=Skin(look.skin),
            age=persona.age,
            feminine=feminine,
            temple=temple - 1 + 2 * masculine,
            cheek=cheek - 1 + 1.5 * masculine,
            jaw=jaw + 4.5 * masculine + 1.5 * old,
            chin=chin + 4 * masculine,
            chin_y=341 + drop + 4 * masculine,
            neck=43 + 9 * masculine,
            shoulder=166 + 26 * masculine,
            eye_half=20.5 + 1.2 * feminine,
            eye_open=10.9 + 1.3 * feminine - 1.2 * old,
            lip_upper=6.6 + 2.4 * feminine - 1.4 * old,
            lip_lower=9.0 + 2.6 * feminine - 1.6 * old,
            mouth_half=29.5 - 1.0 * feminine,
            nose_half=17.5 + 3.0 * masculine,
            brow_thick=4.4 + 2.4 * masculine,
            brow_colour=brow,
        )

    @property
    def old(self) -> float:
        """0 up to 40 years, 1 from 75 on."""
        return min(1.0, max(0.0, (self.age - 40) / 35))

    def face(self) -> str:
        """Outline of the face from crown to chin."""
        right, left = self._half(1), self._half(-1)
        return f"M {CX:g} {CROWN_Y:g} {right[0]} {left[1]} Z"

    def _half(self, side: int) -> tuple[str, str]:
        """One side of the outline, downwards and upwards."""

        def x(value: float) -> float:
            return CX + side * value

        jaw, jaw_y, chin_y = self.jaw, 303, self.chin_y
        nodes = [
            (x(0), CROWN_Y),
            (x(52), CROWN_Y),
            (x(self.temple), 132),
            (x(self.temple), 192),
            (x(self.temple + 0.5), 208),
            (x(self.cheek), 222),
            (x(self.cheek - 1), 243),
            (x(self.cheek - 3), 270),
            (x(jaw + 5), 288),
            (x(jaw - 5), jaw_y),
            (x(jaw - 11), jaw_y + 16),
            (x(self.chin + 19), chin_y - 7),
            (x(self.chin), chin_y - 1),
            (x(self.chin * 0.68), chin_y + 2.5),
            (x(self.chin * 0.36), chin_y + 3.5),
            (x(0), chin_y + 3.5),
        ]
        template = " ".join(["C _ _ _ _ _ _"] * 5)
        down = points(template, *(value for node in nodes[1:] for value in node))
        nodes.reverse()
        up = points(template, *(value for node in nodes[1:] for value in node))
        return down, up
