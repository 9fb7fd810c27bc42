"""Personas: the fictional people that avatars play."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Identifiers become folder names, so they are restricted to this pattern."""

Slug = Annotated[str, StringConstraints(pattern=SLUG)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]


class Voice(BaseModel):
    """How someone sounds: words for text-driven systems, settings for the core's synthesizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field("", max_length=400, description="For prompts: age, gender, pitch, pace, accent.")
    variant: str = Field(
        "en-us", pattern=r"^[a-z]{2,3}(-[a-z0-9]+)*(\+[A-Za-z0-9_]+)?$", description="espeak-ng voice, e.g. en-us+f3."
    )
    pitch: int = Field(50, ge=0, le=99, description="espeak-ng base pitch, 0 to 99.")
    rate: int = Field(165, ge=80, le=300, description="Words per minute.")


HairStyle = Literal[
    "bald", "buzz", "crop", "side_part", "curls", "afro", "pixie", "bob", "long", "wavy", "bun", "ponytail", "hijab"
]
ClothesStyle = Literal["shirt", "blazer", "sweater", "turtleneck", "hoodie", "tee", "blouse", "cardigan", "apron"]
Accessory = Literal["glasses", "round_glasses", "studs", "hoops", "necklace"]
FacialHair = Literal["none", "stubble", "moustache", "goatee", "beard"]
FaceShape = Literal["oval", "round", "square", "heart", "long"]
Backdrop = Literal["plain", "office", "bookshelf", "window", "kitchen", "studio", "living_room", "cafe", "garden"]


class Look(BaseModel):
    """How the drawn portrait of a persona looks; read only by the puppet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skin: Colour = "#e8b894"
    hair: Colour = Field("#3b2a20", description="Of the scarf, where the hair style is `hijab`.")
    hair_style: HairStyle = "crop"
    eyes: Colour = "#5a4632"
    brows: Colour | None = Field(None, description="Derived from the hair if absent.")
    lips: Colour = "#b5605a"
    clothes: Colour = "#3f5f7f"
    clothes_style: ClothesStyle = "shirt"
    accessories: tuple[Accessory, ...] = ()
    facial_hair: FacialHair = "none"
    face_shape: FaceShape = "oval"
    backdrop: Backdrop = "plain"
    backdrop_colour: Colour = "#cfd8df"


class Persona(BaseModel):
    """A fictional adult an avatar plays in a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    name: Text
    age: int = Field(ge=18, le=110)
    gender: Literal["female", "male", "nonbinary"]
    appearance: Text = Field(description="At most 40 words; goes verbatim into prompts of text-driven systems.")
    background: Text = Field(description="The scene behind the persona, for prompts.")
    biography: str = Field("", max_length=2000, description="Who they are; for systems with a language model.")
    voice: Voice = Voice()
    portrait: str | None = Field(None, description="Reference image, a path relative to the scenario set.")
    look: Look | None = Field(None, description="Read only by the puppet, which makes one up if there is none.")

    @field_validator("appearance")
    @classmethod
    def _short(cls, value: str) -> str:
        words = len(re.findall(r"\S+", value))
        if words > 40:
            raise ValueError(f"{words} words; at most 40, because it has to fit the prompts of video models")
        return value

    def portrait_path(self, root: Path) -> Path | None:
        """Absolute path of the reference image in the scenario set at ``root``; None if the persona has none."""
        return None if self.portrait is None else root / self.portrait
