"""A study of a run: made whole or not at all, opened again, and published as a file."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interbench import __version__
from interbench.base.errors import UsageError
from interbench.rating.checks import CATALOGUE
from interbench.rating.clips import make_clips
from interbench.rating.draw import Draft, opaque
from interbench.rating.material import read_material
from interbench.rating.rubric import rated_dimensions
from interbench.rating.settings import SCHEMA, StudySettings, stored_settings
from interbench.store.ratings import Ratings, StudyRecord
from interbench.store.run_folder import identity_key

STUDY_FILE = "study.json"


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it was made."""

    id: str
    settings: StudySettings
    facts: Mapping[str, Any]
    """What the published file says besides: what was drawn, rubrics, catalogue, version."""
    secret: str

    @property
    def catalogue(self) -> str:
        """Hash of what raters are shown and asked: answers to another catalogue are of another study."""
        return str(self.facts["catalogue"])

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Keys of all that is asked, of conversations and of pairs."""
        settings = self.settings
        keys = (
            *(settings.asked if settings.absolute else ()),
            *(settings.pair_dimensions if settings.pairs else ()),
        )
        return tuple(dict.fromkeys(keys))

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest value."""
        low, high = self.facts["scale"]
        return float(low), float(high)

    def token(self, rater: str) -> str:
        """What lets a rater in from elsewhere."""
        return opaque(self.secret, "token", rater, size=32)

    def name_hash(self, name: str) -> str:
        """Under which a rater who calls themselves ``name`` is known again."""
        return opaque(self.secret, "name", name, size=32)

    def published(self) -> dict[str, Any]:
        """The study's file: nothing that unblinds, nobody's name."""
        return {"schema": SCHEMA, "id": self.id, "settings": self.settings.model_dump(mode="json"), **self.facts}


def open_study(ratings: Ratings) -> Study | None:
    """The study of a run; None if none was made yet."""
    record = ratings.study()
    if record is None:
        return None
    held = json.loads(record.settings)
    settings = stored_settings(json.dumps(held["settings"]), ratings.path(ratings.run))
    return Study(record.id, settings, held["facts"], record.secret)


def require_study(ratings: Ratings) -> Study:
    """The study of a run.

    Raises:
        UsageError: none was made yet.
    """
    study = open_study(ratings)
    if study is None:
        raise UsageError(f"{ratings.run} has no study yet. Make one: interbench rate {ratings.run}")
    return study


async def make_study(ratings: Ratings, settings: StudySettings, tell: Callable[[str], None]) -> Study:
    """Draw what is shown, make the clips, and keep the study.

    Raises:
        UsageError: the run has too little to show.
        MediaError: a copy of a clip can't be made.
    """
    material = read_material(ratings.run)
    if settings.pairs and len(material.systems) < 2:
        raise UsageError("Pairs need two systems, and this run has one. Ask for --mode absolute.")
    draft = Draft(settings, material, secrets.token_hex(32), random.Random(settings.seed))  # noqa: S311
    scenarios = draft.scenarios()
    planned = [(system, scenario) for scenario in scenarios for system in material.systems]
    items = [name for name in planned if name in material.played]
    left_out = [
        {"system": name[0], "scenario": name[1], "why": material.left_out[name]}
        for name in planned
        if name in material.left_out
    ]
    if not items:
        why = "; ".join(f"{lost['system']} on {lost['scenario']}: {lost['why']}" for lost in left_out[:3])
        raise UsageError(f"No conversation of {ratings.run} can be shown ({why}). Play it to its end first.")
    orders = {f"r{number}": order for number, order in enumerate(draft.orders(items), start=1)}
    used = {name for order in orders.values() for name in order}
    showings = [draft.showings[name] for name in sorted(used)]
    clips = sorted(clip.name for showing in showings for side in showing.sides for clip in side.clips)
    await make_clips(ratings.folder / "clips", {name: draft.cuts[name] for name in clips}, tell)
    study = Study("", settings, {}, draft.secret)
    questions = {key: rated_dimensions()[key] for key in study.dimensions}
    facts: dict[str, Any] = {
        "interbench": __version__,
        "run_id": material.run_id,
        "systems": list(material.systems),
        "scenarios": list(scenarios),
        "conversations": {system: {c: material.played[system, c].digest for s, c in items if s == system}
                          for system in material.systems},
        "left_out": left_out,
        "rubrics": {key: question.sha256 for key, question in questions.items()},
        "scale": [min(q.low for q in questions.values()), max(q.high for q in questions.values())],
        "blocks": "balanced incomplete, by kind and rater; 1",
        "defects": CATALOGUE,
        "shown_per_rater": {rater: len(order) for rater, order in orders.items()},
    }  # fmt: skip
    facts["catalogue"] = identity_key({"facts": facts, "showings": sorted(used)})[:32]
    study = Study(secrets.token_hex(8), settings, facts, draft.secret)
    held = json.dumps({"settings": settings.model_dump(mode="json"), "facts": facts})
    ratings.begin(StudyRecord(study.id, held, study.secret), showings, orders)
    write_study_file(ratings, study)
    return study


def write_study_file(ratings: Ratings, study: Study) -> None:
    """The study as a file that can be published, beside the clips."""
    ratings.folder.mkdir(exist_ok=True)
    text = json.dumps(study.published(), indent=2) + "\n"
    (ratings.folder / STUDY_FILE).write_text(text, encoding="utf-8")
