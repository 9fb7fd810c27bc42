"""What made-up people look like, sound like and say: everything is drawn from a seed and a number."""

from __future__ import annotations

import colorsys
import random
from typing import Any

MOODS = (
    "neutral", "happy", "amused", "excited", "warm", "calm", "sympathetic", "concerned",
    "sad", "apologetic", "curious", "surprised", "serious", "angry", "confused", "bored",
)  # fmt: skip
_STYLES = {
    "female": ("long", "wavy", "bob", "bun", "ponytail", "pixie", "curls", "afro", "hijab"),
    "male": ("crop", "side_part", "buzz", "curls", "bald", "afro"),
    "nonbinary": ("pixie", "bob", "curls", "crop", "side_part", "bun"),
}
_BACKDROPS = ("plain", "office", "bookshelf", "window", "kitchen", "studio", "living_room", "cafe", "garden")
_CLOTHES = ("shirt", "blazer", "sweater", "turtleneck", "hoodie", "tee", "blouse", "cardigan", "apron")
_SHAPES = ("oval", "round", "square", "heart", "long")
_BEARDS = ("none", "none", "stubble", "moustache", "goatee", "beard")
_LIGHT, _DARK = (0.96, 0.82, 0.71), (0.36, 0.23, 0.16)
_HUES = (
    ("red", 0.0), ("orange", 0.07), ("yellow", 0.14), ("green", 0.36),
    ("teal", 0.49), ("blue", 0.6), ("purple", 0.76), ("pink", 0.91),
)  # fmt: skip
_HAIR = (
    ("black", (0.10, 0.08, 0.07)), ("brown", (0.30, 0.19, 0.12)), ("chestnut", (0.43, 0.26, 0.15)),
    ("blond", (0.76, 0.57, 0.29)), ("red", (0.64, 0.32, 0.16)), ("grey", (0.62, 0.60, 0.58)),
)  # fmt: skip
_VOICES = {
    "female": ("f1", "f2", "f3", "f4", "f5"),
    "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7"),
    "nonbinary": ("f1", "f4", "m3", "m7"),
}
_ACCENTS = ("en-us", "en-gb", "en-gb-scotland")

_WHO = (
    "my neighbour", "the old captain", "a young painter", "your brother", "our teacher", "the whole village",
    "her mother", "that quiet fellow", "the woman upstairs", "a famous cook", "everybody here", "the chief engineer",
)  # fmt: skip
_DOES = (
    "found", "bought", "forgot about", "painted", "wants to move", "would never sell", "borrowed", "broke",
    "keeps talking of", "fixed", "hid", "measured", "has often drawn", "thought over", "looks after", "threw away",
)  # fmt: skip
_WHAT = (
    "a pair of blue shoes", "the map of the harbour", "four boxes of oranges", "the oldest piano in town",
    "a very small boat", "his favourite poem", "the broken window", "seven jars of honey", "the bridge by the mill",
    "an enormous yellow cheese", "both of the puppies", "the village fountain", "a photograph of the valley",
)  # fmt: skip
_WHEN = (
    "just before the storm", "on a foggy Thursday", "while we were having coffee", "after the game", "last February",
    "as soon as the bell rang", "long before you were born", "without saying a word", "in the middle of the night",
    "because of the weather", "for a good friend of ours", "and that was wonderful", "which is hard to believe",
)  # fmt: skip
_OPENINGS = ("Well,", "You know,", "Of course,", "I think", "Honestly,", "Oh,", "They say", "Imagine:", "Please note:")
_AFTER = (
    "Would you have done that?", "I was so happy about it.", "Give it a try yourself.", "What a view that must be!",
    "We have five more of those.", "Nobody knows why.", "Move over, please.", "Both ways are fine with me.",
)  # fmt: skip


def person(number: int, seed: int, prefix: str) -> tuple[dict[str, Any], str]:
    """A persona as a scenario set writes it, and what can be seen of it, in words of a small vocabulary."""
    rng = random.Random(f"{seed}/{prefix}/{number}")
    gender = rng.choice(("female", "female", "male", "male", "nonbinary"))
    age = rng.randint(20, 80)
    tone = rng.random()
    skin = tuple(
        min(1.0, max(0.0, a + (b - a) * tone + rng.uniform(-0.02, 0.02))) for a, b in zip(_LIGHT, _DARK, strict=True)
    )
    style = rng.choice(_STYLES[gender])
    hair_name, hair = rng.choice(_HAIR[:-1] if age < 55 else _HAIR[-1:] * 3 + _HAIR[:-1])
    clothes_name, clothes = _colour(rng, (0.25, 0.75), (0.25, 0.8))
    wall_name, wall = _colour(rng, (0.05, 0.3), (0.7, 0.92))
    worn = rng.choice(("glasses", "round_glasses", "none", "none", "none"))
    beard = rng.choice(_BEARDS) if gender == "male" else "none"
    backdrop = rng.choice(_BACKDROPS)
    garment = rng.choice(_CLOTHES)
    if style == "hijab":
        hair_name, hair = _colour(rng, (0.2, 0.6), (0.3, 0.8))
    look = {
        "skin": _hex(skin),
        "lips": _hex(
            tuple(0.86 * s + 0.14 * p - 0.1 * i for s, p, i in zip(skin, (0.6, 0.1, 0.1), (0, 1, 1), strict=True))
        ),
        "hair": _hex(tuple(min(1.0, max(0.0, part + rng.uniform(-0.04, 0.04))) for part in hair)),
        "hair_style": style,
        "eyes": rng.choice(("#4b3524", "#5a4632", "#5b7f5a", "#4a6f92", "#6b7f86")),
        "clothes": _hex(clothes),
        "clothes_style": garment,
        "accessories": [] if worn == "none" else [worn],
        "facial_hair": beard,
        "face_shape": rng.choice(_SHAPES),
        "backdrop": backdrop,
        "backdrop_colour": _hex(wall),
    }
    who = {"female": "a woman", "male": "a man", "nonbinary": "a person"}[gender]
    old = "young" if age < 35 else "old" if age >= 60 else "middle-aged"
    head = (
        f"a {hair_name} scarf"
        if style == "hijab"
        else "no hair"
        if style == "bald"
        else f"{hair_name} {style.replace('_', ' ')} hair"
    )
    seen = [f"{who}, {old}, with {head}"]
    seen += [] if beard == "none" else [f"and a {beard}"]
    seen += [] if worn == "none" else [f"and {worn.replace('_', ' ')}"]
    seen += [f", in a {clothes_name} {garment}, before a {wall_name} {backdrop.replace('_', ' ')}"]
    persona = {
        "id": f"{prefix}-{number:04d}",
        "name": f"{prefix.title()} {number}",
        "age": age,
        "gender": gender,
        "appearance": " ".join(seen).replace(" ,", ","),
        "background": f"a {wall_name} {backdrop.replace('_', ' ')}",
        "voice": {
            "variant": f"{rng.choice(_ACCENTS)}+{rng.choice(_VOICES[gender])}",
            "pitch": rng.randint(*{"female": (45, 75), "male": (20, 50), "nonbinary": (35, 60)}[gender]),
            "rate": rng.randint(145, 180),
        },
        "look": look,
    }
    return persona, " ".join(seen).replace(" ,", ",")


def speech(number: int, seed: int, prefix: str) -> str:
    """About five seconds of English that mean little and hold every kind of sound."""
    rng = random.Random(f"{seed}/{prefix}/{number}/speech")
    parts = (rng.choice(part) for part in (_OPENINGS, _WHO, _DOES, _WHAT, _WHEN))
    return f"{' '.join(parts)}. {rng.choice(_AFTER)}"


def mood(number: int, seed: int, prefix: str) -> str:
    """How it is said."""
    return random.Random(f"{seed}/{prefix}/{number}/mood").choice(MOODS)


def _colour(
    rng: random.Random, saturation: tuple[float, float], value: tuple[float, float]
) -> tuple[str, tuple[float, ...]]:
    name, hue = rng.choice(_HUES)
    return name, colorsys.hsv_to_rgb(
        (hue + rng.uniform(-0.02, 0.02)) % 1, rng.uniform(*saturation), rng.uniform(*value)
    )


def _hex(colour: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, part))):02x}" for part in colour)
