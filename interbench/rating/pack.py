"""A study as folders for raters elsewhere, who need a browser and nothing else, and what they send back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import StoreError, UsageError
from interbench.base.foreign import NotJsonError, parsed_json
from interbench.rating.clips import same_file
from interbench.rating.intake import read_answer, read_closing
from interbench.rating.page import FILES, STATIC, page_text, script, showing_payload, study_payload
from interbench.rating.study import STUDY_FILE, Study
from interbench.store.ratings import Ratings

SCHEMA = "interbench.ratings/1"
_LONGEST = 64 * 2**20
"""Bytes of a file of ratings that are read: some 100,000 answers are 20 MiB."""
_READ_ME = "Open rate.html in a browser. Your ratings stay in it until you save them as a file; send that file back.\n"


def write_packs(ratings: Ratings, study: Study, out: Path, raters: Sequence[str]) -> list[Path]:
    """Write a folder per rater below ``out``; gives them.

    Raises:
        StoreError: a folder is there already, or can't be written.
        UsageError: a clip of the study is missing.
    """
    showings = ratings.showings()
    folders = []
    for rater in raters:
        folder = out / f"rating-{study.id[:6]}-{rater}"
        shown = [showings[name] for name in ratings.order(rater)]
        if folder.exists():
            raise StoreError(f"{folder} is there already; name another place for the packs.")
        names = [clip.name for showing in shown for side in showing.sides for clip in side.clips]
        if lost := [name for name in names if not (ratings.folder / "clips" / name).is_file()]:
            raise UsageError(f"{len(lost)} clips of the study are missing from {ratings.folder / 'clips'}; restore it.")
        try:
            (folder / "clips").mkdir(parents=True)
            for name in names:
                same_file(ratings.folder / "clips" / name, folder / "clips" / name)
            for name in FILES:
                shutil.copyfile(STATIC / name, folder / name)
            payload = {"study": study_payload(study, rater, shown), "showings": [showing_payload(s) for s in shown]}
            (folder / "pack.js").write_text(script(payload), encoding="ascii")
            (folder / "rate.html").write_text(page_text(packed=True), encoding="utf-8")
            (folder / "README.txt").write_text(_READ_ME, encoding="utf-8")
            for path in folder.iterdir():
                os.utime(path, (0, 0))
        except OSError as error:
            raise StoreError(
                f"The packs can't be written to {out} ({error.strerror or error}). Make room or name another place."
            ) from error
        folders.append(folder)
    return folders


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of ratings brought."""

    path: Path
    rater: str
    answers: int
    new: int
    """Of these; the others were there already."""


def import_ratings(ratings: Ratings, study: Study, path: Path) -> Imported:
    """Take over what a rater of a pack has saved; a second time changes nothing.

    Raises:
        UsageError: it is no such file, of another study, catalogue or rater, or holds an answer that can't be; nothing
            of it is then taken over.
    """
    data = _read(path)
    for name, mine in (("study", study.id), ("catalogue", study.catalogue)):
        if data.get(name) != mine:
            raise UsageError(
                f"{path} holds ratings of another {name}: {_short(data.get(name))}, and this run's is {mine}. Import "
                f"it into the run whose {STUDY_FILE} says so."
            )
    rater = data.get("rater")
    if rater not in ratings.raters():
        raise UsageError(f"{path} is of a rater whom the study does not know: {_short(rater)}.")
    showings = ratings.showings()
    assigned = {name: showings[name] for name in ratings.order(rater)}
    given = data.get("answers")
    if not isinstance(given, list):
        raise UsageError(f"{path} holds no list of answers.")
    answers = []
    for number, one in enumerate(given, start=1):
        try:
            answers.append(read_answer(study, rater, assigned, one, now=False))
        except UsageError as error:
            raise UsageError(f"{path}, answer {number}: {error} Nothing of the file was taken over.") from None
    closing = None if data.get("closing") is None else read_closing(rater, data["closing"])
    new = ratings.record(answers)
    if closing is not None:
        ratings.close(closing)
    return Imported(path, rater, len(answers), new)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST:
            raise UsageError(f"{path} has more than {_LONGEST >> 20} MiB, which no rater fills.")
        data = parsed_json(path.read_bytes())
    except (OSError, NotJsonError) as error:
        raise UsageError(f"{path} can't be read as ratings ({error}). Give the file that the page saved.") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UsageError(f"{path} holds no ratings of this version ({SCHEMA}). Give the file that the page saved.")
    return data


def _short(value: Any) -> str:
    return ascii(value)[:40]
