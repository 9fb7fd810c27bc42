"""From a folder of real videos to conditions: a seeded draw, cuts of a few seconds, squares of one size.

    DATA/clips.jsonl      an object a line: id, video, and if need be start_s, source, text, image, audio, box
    DATA/*.mp4            or simply videos, each cut from its beginning

Every cut's SHA-256 goes into ``cuts.json``, so that two laboratories can tell whether they used the same clips. Nothing
of the videos goes anywhere else: tables name clips by their ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interbench.base.errors import MediaError, StoreError, UsageError
from interbench.base.progress import Progress
from interbench.domain.persona import SLUG
from interbench.media.pool import AUDIO_RATE, MediaPool, encode_audio
from interbench.single.base import Clip
from interbench.store.belonging import SUFFIXES
from interbench.store.trouble import explained

LIST = "clips.jsonl"
CUTS = "cuts.json"
RATE = 25
_SCHEMA = 1
Inside = Annotated[str, Field(min_length=1, max_length=300)]


class Candidate(BaseModel):
    """A line of ``clips.jsonl``: a clip that may be drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=SLUG)]
    video: Inside = Field(description="A path within the folder.")
    start_s: float = Field(0.0, ge=0, description="Where the cut begins.")
    source: str = Field("", max_length=300, description="The video it comes from, if several clips do.")
    text: str = Field("", max_length=4000, description="What is said in it.")
    image: Inside | None = Field(None, description="A reference image; the first frame if there is none.")
    audio: Inside | None = Field(None, description="The speech to be given; that of the cut if there is none.")
    box: tuple[int, int, int, int] | None = Field(None, description="Left, top, width, height of what is cut out.")


@dataclass(frozen=True, slots=True)
class Draw:
    """How conditions are drawn and cut."""

    count: int = 100
    duration: float = 5.0
    side: int = 512
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """What a system is given, and the real clip that it is given of."""

    candidate: Candidate
    cut: Clip
    image: Path
    audio: Path


@dataclass(frozen=True, slots=True)
class Prepared:
    """The conditions that were drawn, and as many real clips more as there are, for floor and controls."""

    conditions: tuple[Condition, ...]
    spare: tuple[Clip, ...]
    unusable: Mapping[str, str]
    """Why candidates were passed over, by id."""
    digest: str
    """SHA-256 over the hashes of all conditions' cuts, in their order."""


def candidates(folder: Path) -> list[Candidate]:
    """What may be drawn, by id.

    Raises:
        UsageError: there is nothing, or the list is wrong; says in which line.
    """
    listed = folder / LIST
    if listed.is_file():
        found = [_line(listed, number, line) for number, line in enumerate(_lines(listed), start=1) if line.strip()]
    else:
        videos = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        found = [Candidate(id=_slug(path.stem), video=path.name, source=path.stem) for path in videos]
    ids = [one.id for one in found]
    if twice := next((id_ for id_ in ids if ids.count(id_) > 1), None):
        raise UsageError(f"{folder} has two clips with the id {twice}.")
    if not found:
        raise UsageError(f"{folder} has neither a {LIST} nor videos ({', '.join(SUFFIXES)}); see docs/single.md.")
    return sorted(found, key=lambda one: one.id)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error


def _line(path: Path, number: int, line: str) -> Candidate:
    try:
        return Candidate.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "line"
        raise UsageError(f"{path}:{number}: {where}: {first['msg']}") from error


def _slug(name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name.lower()).strip("-_")
    if plain == name and plain:
        return plain[:64]
    return f"{plain[:48] or 'clip'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


async def prepare(folder: Path, out: Path, draw: Draw, media: MediaPool, progress: Progress) -> Prepared:
    """Draw, cut, and write down what came of it; cuts that are there already are taken as they are.

    Raises:
        UsageError: there is nothing to draw from, or ``out`` holds cuts that were drawn differently.
        StoreError: a cut that was written before is no longer what it was.
    """
    everyone = candidates(folder)
    book = _Book(out, draw, everyone)
    order = list(everyone)
    random.Random(draw.seed).shuffle(order)  # noqa: S311 - nothing is secret here
    kept: list[Condition] = []
    unusable: dict[str, str] = {}
    progress.total("prepare", min(2 * draw.count, len(order)))
    for candidate in order:
        if len(kept) == 2 * draw.count:
            break
        try:
            kept.append(await _condition(folder, out, candidate, draw, media, book))
        except MediaError as error:
            unusable[candidate.id] = error.code
            progress.say(f"{candidate.id} can't be used: {error}")
        progress.advance("prepare", candidate.id)
    if len(kept) < 2:
        raise UsageError(f"Of {len(order)} clips in {folder}, {len(kept)} can be used: {_commonest(unusable)}.")
    conditions = tuple(kept[: draw.count])
    hashes = "\n".join(one.cut.facts.sha256 for one in conditions if one.cut.facts is not None)
    prepared = Prepared(
        conditions,
        tuple(one.cut for one in kept[draw.count :]),
        unusable,
        hashlib.sha256(hashes.encode()).hexdigest(),
    )
    book.finish(prepared)
    return prepared


def _commonest(unusable: Mapping[str, str]) -> str:
    codes = list(unusable.values())
    return max(codes, key=codes.count) if codes else "there are no more"


async def _condition(
    folder: Path, out: Path, candidate: Candidate, draw: Draw, media: MediaPool, book: _Book
) -> Condition:
    own = out / "cuts"
    clip, image, audio = (own / f"{candidate.id}{suffix}" for suffix in (".mkv", ".png", ".wav"))
    if candidate.image is not None:
        image = within(folder, candidate.image)
        await media.portrait(image)
    facts = None
    if clip.is_file() and image.is_file() and audio.is_file():
        facts = await media.inspect(clip)
        book.require(candidate.id, facts.sha256)
    if facts is None:
        with explained(out):
            own.mkdir(parents=True, exist_ok=True)
        facts = await media.cut(
            within(folder, candidate.video),
            clip.absolute(),
            start=candidate.start_s,
            duration=draw.duration,
            side=draw.side,
            rate=RATE,
            box=candidate.box,
        )
        await _given(folder, candidate, clip, image, audio, media)
        book.note(candidate, facts.sha256)
    cut = Clip(candidate.id, clip, candidate.source or candidate.id, facts)
    return Condition(candidate, cut, image, audio)


async def _given(folder: Path, candidate: Candidate, clip: Path, image: Path, audio: Path, media: MediaPool) -> None:
    """Write the first frame as the reference image, and the speech that systems are given."""
    samples = await media.audio(clip if candidate.audio is None else within(folder, candidate.audio))
    if samples is None:
        raise MediaError("no_audio", f"{candidate.audio}: it has no sound.")
    async with contextlib.aclosing(media.sequence(clip)) as stretches:
        first = (await anext(stretches)).pixels[0]

    def write() -> None:
        if candidate.image is None:
            Image.fromarray(first).save(image)
        encode_audio(samples, AUDIO_RATE, audio)

    with explained(clip.parent):
        await asyncio.to_thread(write)


def within(folder: Path, name: str) -> Path:
    """A file that a list names; never one outside of its folder.

    Raises:
        UsageError: it lies outside.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{folder / LIST} names {name!r}, which is no path within its folder.")
    return folder / path


class _Book:
    """``cuts.json``: what was cut, how, and what it hashes to."""

    def __init__(self, out: Path, draw: Draw, everyone: Sequence[Candidate]) -> None:
        self._path = out / CUTS
        listed = json.dumps([one.model_dump(mode="json") for one in everyone], sort_keys=True)
        self._how = asdict(draw) | {"rate": RATE, "listed": hashlib.sha256(listed.encode()).hexdigest()}
        self._cuts: dict[str, Any] = {}
        if self._path.is_file():
            held = self._read()
            changed = [name for name, value in self._how.items() if held["how"].get(name) != value]
            if changed:
                raise UsageError(
                    f"{out} holds cuts that were made with another {', '.join(changed)}. Give this measurement a "
                    f"folder of its own with --out."
                )
            self._cuts = held["cuts"]

    def _read(self) -> dict[str, Any]:
        try:
            held: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            if held["schema"] != _SCHEMA or not isinstance(held["how"], dict) or not isinstance(held["cuts"], dict):
                raise ValueError("another schema")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._path} can't be read ({error}); give another folder with --out.") from error
        return held

    def require(self, id_: str, sha256: str) -> None:
        """See that a cut that is there is the one that was made."""
        known = self._cuts.get(id_, {}).get("sha256", sha256)
        if known != sha256:
            raise StoreError(
                f"The cut {id_} in {self._path.parent} is no longer what it was when it was made. Remove it, and it is "
                f"made again, or give another folder with --out."
            )

    def note(self, candidate: Candidate, sha256: str) -> None:
        self._cuts[candidate.id] = {
            "sha256": sha256,
            "source": candidate.source,
            "start_s": candidate.start_s,
            "box": candidate.box,
        }
        self._write({})

    def finish(self, prepared: Prepared) -> None:
        self._write(
            {
                "conditions": [one.candidate.id for one in prepared.conditions],
                "spare": [clip.id for clip in prepared.spare],
                "unusable": dict(prepared.unusable),
                "digest": prepared.digest,
            }
        )

    def _write(self, more: Mapping[str, Any]) -> None:
        content = {"schema": _SCHEMA, "how": self._how, "cuts": self._cuts, **more}
        draft = self._path.with_suffix(".tmp")
        with explained(self._path.parent):
            draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            draft.replace(self._path)
