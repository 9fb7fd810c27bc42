"""Who a persona looks like: its own look, one made up for it, or another one in place of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

from interbench.domain.persona import Backdrop, ClothesStyle, FaceShape, FacialHair, HairStyle, Look, Persona

_SKINS = ("#f2cdb2", "#edc2a0", "#dca67f", "#c98f64", "#a9714a", "#8a5a3c", "#6b432d")
_LIPS = ("#bf6a62", "#b8605c", "#a8524e", "#9e4f48", "#8f4a42", "#82433f", "#733a38")
_HAIR = ("#1d1512", "#2f2019", "#4a2e1f", "#6b4326", "#8a5a2e", "#b9853f", "#a4522a")
_GREY = ("#8b8784", "#b9b6b2", "#d3cfc9")
_EYES = ("#4b3524", "#5a4632", "#5b7f5a", "#4a6f92", "#6b7f86")
_CLOTHES = ("#2f4a6b", "#8f3f3a", "#4d6a4f", "#6d4f78", "#c08a34", "#3b4a57", "#7a5a44", "#2f6f6a", "#b5574e")
_WALLS = ("#d9cdbd", "#c4d2d6", "#cfd3bd", "#d8c4b8", "#c9c6d6", "#b9c7bb", "#d6d0c4")
_STYLES: dict[str, tuple[HairStyle, ...]] = {
    "female": ("long", "wavy", "bob", "bun", "ponytail", "pixie", "curls"),
    "male": ("crop", "side_part", "buzz", "curls", "bald"),
    "nonbinary": ("pixie", "bob", "curls", "crop", "side_part"),
}
_PLACES = tuple(place for place in get_args(Backdrop) if place != "plain")
_T = TypeVar("_T")
FigurePart = Literal["person", "clothes", "backdrop"]
"""What of a figure can change from turn to turn."""


class _Chooser:
    """Choices that depend on a key alone."""

    def __init__(self, key: str) -> None:
        self._key = key

    def one_of(self, what: str, choices: Sequence[_T]) -> _T:
        digest = hashlib.sha256(f"{self._key}/{what}".encode()).digest()
        return choices[int.from_bytes(digest[:8], "big") % len(choices)]


def made_up(persona: Persona, *, key: str = "") -> Look:
    """A look for someone of this age and gender; the same for the same persona id and ``key``."""
    choose = _Chooser(f"{persona.id}/{key}")
    tone = choose.one_of("skin", range(len(_SKINS)))
    grey = persona.age >= 60 or (persona.age >= 50 and choose.one_of("grey", (True, False)))
    beards: tuple[FacialHair, ...] = ("none", "none", "stubble", "beard", "moustache")
    accessories = ("glasses", "round_glasses", "none", "none", "studs" if persona.gender == "female" else "none")
    worn = choose.one_of("accessory", accessories)
    return Look.model_validate(
        {
            "skin": _SKINS[tone],
            "lips": _LIPS[tone],
            "hair": choose.one_of("hair", _GREY if grey else _HAIR[: 3 if tone > 2 else None]),
            "hair_style": choose.one_of("style", _STYLES[persona.gender]),
            "eyes": choose.one_of("eyes", _EYES[: 2 if tone > 2 else None]),
            "facial_hair": choose.one_of("beard", beards) if persona.gender == "male" else "none",
            "face_shape": choose.one_of("shape", get_args(FaceShape)),
            "accessories": () if worn == "none" else (worn,),
            **_clothes(choose),
            **_place(choose),
        }
    )


def _clothes(choose: _Chooser) -> dict[str, Any]:
    return {
        "clothes": choose.one_of("clothes", _CLOTHES),
        "clothes_style": choose.one_of("clothes_style", get_args(ClothesStyle)),
    }


def _place(choose: _Chooser) -> dict[str, Any]:
    return {"backdrop": choose.one_of("place", _PLACES), "backdrop_colour": choose.one_of("wall", _WALLS)}


def look_of(persona: Persona) -> Look:
    """The persona's own look, or one made up from its id, age and gender."""
    return persona.look or made_up(persona)


def drifted(persona: Persona, turn: int, what: frozenset[FigurePart]) -> tuple[Persona, Look]:
    """Who appears in ``turn`` (1-based) when ``what`` changes between turns; the first shows the persona itself."""
    look = look_of(persona)
    if turn == 1 or not what:
        return persona, look
    shown = persona
    if "person" in what:
        gender = "male" if (turn % 2 == 0) == (persona.gender == "female") else "female"
        shown = persona.model_copy(update={"gender": gender, "age": 24 + (persona.age + 17 * turn) % 52})
        new = made_up(shown, key=f"turn {turn}")
        look = new.model_copy(update={name: getattr(look, name) for name in (*_CLOTHES_FIELDS, *_PLACE_FIELDS)})
    if "clothes" in what:
        look = look.model_copy(update=_other(look, turn, _CLOTHES_FIELDS))
    if "backdrop" in what:
        look = look.model_copy(update=_other(look, turn, _PLACE_FIELDS))
    return shown, look


_CLOTHES_FIELDS = ("clothes", "clothes_style")
_PLACE_FIELDS = ("backdrop_colour", "backdrop")
_RANGES: dict[str, Sequence[str]] = {
    "clothes": _CLOTHES,
    "clothes_style": get_args(ClothesStyle),
    "backdrop_colour": _WALLS,
    "backdrop": _PLACES,
}


def _other(look: Look, turn: int, fields: Sequence[str]) -> dict[str, Any]:
    """Other values for ``fields`` than the look has, and different ones in neighbouring turns."""
    changed = {}
    for field in fields:
        choices = [choice for choice in _RANGES[field] if choice != getattr(look, field)]
        changed[field] = choices[(turn * 3 + len(field)) % len(choices)]
    return changed
