"""Short clips of drawn people, and a small run that is played with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from audit_kit import played_run

from interbench.scenarios.sets import load_set
from interbench.systems.puppet.render import render

SIX = (
    "places-eiffel-tower",
    "science-blue-sky",
    "memory-dinner-guests",
    "howto-bike-puncture",
    "memory-twenty-questions",
    "service-hotel-lost-booking",
)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two short clips, of two people, who speak."""
    folder = tmp_path_factory.mktemp("people")
    personas = load_set("starter").personas
    made = []
    for number, name in enumerate(("maya", "walter")):
        made.append(folder / f"{name}.mp4")
        render(made[-1], personas[name], "Hello, and welcome.", mood="happy", seed=number)
    return tuple(made)


@pytest.fixture(scope="session")
def small_run(people: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six conversations of the intact puppet, and one of a puppet with a defect."""
    out = tmp_path_factory.mktemp("run") / "bench"
    asyncio.run(played_run(out, people, scenarios=SIX, systems=("puppet", "puppet:blank")))
    return out
