"""The whole of a curation: every clip cut, improved, measured and kept item by item; then filtered and told about.

``OUT`` holds ``items/``, ``images/``, ``speech/`` (one of each per item), ``clips/`` (what came of each clip),
``against/`` (fingerprints of a test split), ``settings.json``, and, made anew by every call: ``conditions.jsonl`` (what
is kept), ``refused.jsonl`` (what is not, and why), ``thresholds.toml``, ``yield.md``, ``yield.csv``, ``yield.svg``.
A call may be ended at any moment and given again: what is there is not made twice. Thresholds may change from call to
call; what items are made with may not.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from livetalk.base.errors import LiveTalkError, OptionError
from livetalk.training.conditions import LIST_NAME, Condition
from livetalk.training.curation.backends import BackendError
from livetalk.training.curation.clips import ClipError, Picture, cut_clip, digest_of, find_clips
from livetalk.training.curation.faces import Face, FaceFinder
from livetalk.training.curation.fingerprints import Fingerprint, Match, find_match, picture_hashes, sound_bits
from livetalk.training.curation.items import Item, Tools, item_id, make_item, read_item, write_whole
from livetalk.training.curation.thresholds import DUPLICATE, Threshold, as_toml
from livetalk.training.curation.yields import FilterYield, as_csv, as_markdown, histograms, yields

_AGAINST_STEP_S = 2.0
_AGAINST_STEPS = 900


class CurationError(LiveTalkError):
    """A folder can't be curated into, or not with these settings."""


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How clips are cut."""

    seconds: float = 5.0625
    """81 frames at 16 frames per second: what the recipe trains on."""
    most: int = 1
    stride: float | None = None


@dataclass(frozen=True, slots=True)
class Curated:
    """What a call did and what it leaves."""

    items: int
    kept: int
    made: int
    """Items that this call made; the others were there."""
    unusable: dict[str, str]
    """Clips that could not be cut, and why."""
    repeated: dict[str, str]
    """Clips whose bytes an earlier clip has, and its name."""
    failed: dict[str, str]
    """Clips of which a back end has not done its work, and why; the next call tries them again."""
    table: list[FilterYield]


@dataclass(slots=True)
class _Clip:
    name: str
    items: list[Item] = field(default_factory=list)
    made: int = 0
    unusable: str | None = None
    failed: str | None = None


def curate(
    clips: Path,
    out: Path,
    tools: Tools,
    thresholds: tuple[Threshold, ...],
    *,
    cuts: CutSettings | None = None,
    texts: Mapping[str, str] | None = None,
    default_text: str,
    against: Path | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Curated:
    """Make conditions of a folder of clips.

    Args:
        clips: the folder; every clip below it is taken.
        out: the folder to work in, made if need be.
        tools: what items are made with.
        thresholds: what is kept.
        cuts: how clips are cut.
        texts: text by clip, its name relative to ``clips``; a file ``NAME.txt`` beside a clip counts too.
        default_text: for clips without one.
        against: clips of a test split: what is found there is not kept.
        processes: clips worked on at a time.
        progress: told how many clips of how many are done.

    Raises:
        CurationError: ``out`` was made with other settings, or is being worked on.
        ClipError: no clips, or a folder of the test split without any.
    """
    cuts = cuts or CutSettings()
    paths = find_clips(clips)
    making = {"seconds": cuts.seconds, "stride": cuts.stride or cuts.seconds, **tools.settings()}
    with _held(out):
        _check_settings(out, making)
        known = _against(out, against, tools.finder) if against is not None else []
        done: list[_Clip] = []
        repeated: dict[str, str] = {}

        def work(path: Path, digest: str) -> _Clip:
            name = path.relative_to(clips).as_posix()
            text, text_by = _text_of(path, name, texts or {}, default_text)
            return _work(path, name, digest, text, text_by, making, tools, cuts, out)

        first: dict[str, str] = {}
        distinct: list[tuple[Path, str]] = []
        for path in paths:
            digest, name = digest_of(path), path.relative_to(clips).as_posix()
            if digest in first:
                repeated[name] = first[digest]
            else:
                first[digest] = name
                distinct.append((path, digest))
        for count, clip in enumerate(_in_order(work, distinct, processes), 1):
            done.append(clip)
            progress(count, len(distinct))
        return _conclude(out, done, repeated, thresholds, known)


def _in_order(work: Callable[[Path, str], _Clip], jobs: list[tuple[Path, str]], processes: int) -> Iterator[_Clip]:
    """Results in the order of the jobs. An error, or Ctrl-C, starts no further job."""
    if processes == 1:
        yield from (work(*job) for job in jobs)
        return
    with ThreadPoolExecutor(processes, "curation") as pool:
        pending: dict[int, Future[_Clip]] = {}
        at = 0
        try:
            for index in range(len(jobs)):
                while at < len(jobs) and len(pending) < 2 * processes:
                    pending[at] = pool.submit(work, *jobs[at])
                    at += 1
                while not pending[index].done():
                    wait(pending.values(), return_when=FIRST_COMPLETED, timeout=1.0)
                yield pending.pop(index).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _work(
    path: Path,
    name: str,
    digest: str,
    text: str,
    text_by: str,
    making: Mapping[str, Any],
    tools: Tools,
    cuts: CutSettings,
    out: Path,
) -> _Clip:
    clip = _Clip(name)
    making = {**making, "text": text, "text_by": text_by}
    names = [item_id(digest, index, making) for index in range(cuts.most)]
    record = (
        out / "clips" / f"{item_id(digest, cuts.most, {'seconds': making['seconds'], 'stride': making['stride']})}.json"
    )
    told = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    if told is not None and "unusable" in told:
        clip.unusable = told["unusable"]
        return clip
    count = told["cuts"] if told is not None else None
    kept = {at: out / "items" / f"{one}.json" for at, one in enumerate(names)}
    if count is None or not all(kept[at].is_file() for at in range(count)):
        try:
            found = cut_clip(path, cuts.seconds, cuts.most, cuts.stride)
        except ClipError as error:
            clip.unusable = str(error)
            write_whole(record, json.dumps({"clip": name, "unusable": clip.unusable}).encode())
            return clip
        count = len(found)
        for cut in found:
            if kept[cut.index].is_file():
                continue
            try:
                make_item(names[cut.index], name, digest, cut, text, text_by, tools, out)
                clip.made += 1
            except BackendError as error:
                clip.failed = str(error)
        write_whole(record, json.dumps({"clip": name, "cuts": count}).encode())
    clip.items = [read_item(kept[at]) for at in range(count) if kept[at].is_file()]
    return clip


def _conclude(
    out: Path,
    clips: list[_Clip],
    repeated: dict[str, str],
    thresholds: tuple[Threshold, ...],
    known: list[Fingerprint],
) -> Curated:
    items = [item for clip in clips for item in clip.items]
    matches: list[Match | None] = [find_match(item.found(), known) for item in items]
    table = yields([item.values for item in items], thresholds, [match is not None for match in matches])
    kept, refused = [], []
    for item, match in zip(items, matches, strict=True):
        faults = {one.measure: why for one in thresholds if (why := one.fault(item.values)) is not None}
        if match is not None:
            faults[DUPLICATE] = f"{match.name} by {match.by}, {match.distance:.3f}"
        if faults:
            refused.append({"id": item.id, "clip": item.clip, "start": item.start, "because": faults})
        else:
            kept.append(item)
    unusable = {clip.name: clip.unusable for clip in clips if clip.unusable is not None}
    _write_lines(out / "refused.jsonl", refused)
    _write_conditions(out, kept)
    values = [item.values for item in items]
    write_whole(out / "thresholds.toml", as_toml(thresholds).encode())
    write_whole(out / "yield.md", as_markdown(table, len(items), len(kept), len(unusable)).encode())
    write_whole(out / "yield.csv", as_csv(table).encode())
    write_whole(out / "yield.svg", histograms(values, thresholds).encode())
    return Curated(
        items=len(items),
        kept=len(kept),
        made=sum(clip.made for clip in clips),
        unusable=unusable,
        repeated=repeated,
        failed={clip.name: clip.failed for clip in clips if clip.failed is not None},
        table=table,
    )


def _write_conditions(out: Path, items: list[Item]) -> None:
    lines = [
        Condition(
            item.id,
            out / "images" / f"{item.id}.png",
            out / "speech" / f"{item.id}.wav",
            item.text,
            further={
                "clip": item.clip,
                "clip_start": item.start,
                "seconds": item.seconds,
                "measures": item.values,
                "done": item.steps,
                "text_by": item.text_by,
            },
        ).as_line(out)
        for item in items
    ]
    write_whole(out / LIST_NAME, "".join(f"{line}\n" for line in lines).encode())


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def _text_of(path: Path, name: str, texts: Mapping[str, str], default: str) -> tuple[str, str]:
    """The text of a clip, and where it is from."""
    if name in texts:
        return texts[name], "list"
    beside = path.with_suffix(".txt")
    if beside.is_file():
        try:
            text = " ".join(beside.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise CurationError(f"{beside} can't be read as UTF-8 text ({error}).") from None
        if text:
            return text, "beside the clip"
    return default, "default"


def read_texts(path: Path) -> dict[str, str]:
    """Texts by clip, of a JSON Lines file: ``{"clip": NAME, "text": TEXT}``.

    Raises:
        OptionError: it can't be read, or a line is none of these.
    """
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--texts {path} can't be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            clip, text = row["clip"], row["text"]
        except (ValueError, KeyError, TypeError):
            clip = text = None
        if not (isinstance(clip, str) and isinstance(text, str) and text.strip()):
            raise OptionError(f'--texts {path}, line {number}: write {{"clip": "NAME.mp4", "text": "..."}}')
        if clip in found:
            raise OptionError(f"--texts {path}, line {number}: {clip} was there before")
        found[clip] = " ".join(text.split())
    return found


def _against(out: Path, folder: Path, finder: FaceFinder | None) -> list[Fingerprint]:
    """Fingerprints of the clips of a test split; made once per clip."""
    found, failed = [], []
    for path in find_clips(folder):
        name = path.relative_to(folder).as_posix()
        found_by = finder.identity if finder else "none"
        kept = out / "against" / f"{item_id(digest_of(path), 0, {'faces': found_by})}.json"
        if not kept.is_file():
            try:
                cuts = cut_clip(path, _AGAINST_STEP_S, _AGAINST_STEPS, _AGAINST_STEP_S)
            except ClipError as error:
                failed.append(f"{name}: {error}")
                continue
            bits = sound_bits(np.concatenate([cut.speech for cut in cuts]))
            hashes = {one for cut in cuts for one in picture_hashes(cut.picture, _largest(finder, cut.picture))}
            told = {
                "sound": base64.b64encode(bits.tobytes()).decode(),
                "pictures": [f"{one:016x}" for one in sorted(hashes)],
            }
            write_whole(kept, json.dumps(told).encode())
        told = json.loads(kept.read_text(encoding="utf-8"))
        bits = np.frombuffer(base64.b64decode(told["sound"]), np.int8).reshape(-1, 32)
        found.append(Fingerprint(name, bits, tuple(int(value, 16) for value in told["pictures"])))
    if failed:
        raise CurationError(
            f"{len(failed)} clips of the test split can't be read, so that what they hold would not be found: "
            f"{failed[0]} Mend or remove them."
        )
    return found


def _largest(finder: FaceFinder | None, picture: Picture) -> Face | None:
    faces = finder.find(picture) if finder is not None else []
    return max(faces, key=lambda one: one.width * one.height, default=None)


def _check_settings(out: Path, making: Mapping[str, Any]) -> None:
    path = out / "settings.json"
    told = json.loads(json.dumps(making))
    if not path.is_file():
        write_whole(path, json.dumps(told, indent=1, sort_keys=True).encode())
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CurationError(f"{path} can't be read ({error}). Choose another folder.") from None
    other = sorted(name for name in told.keys() | before.keys() if told.get(name) != before.get(name))
    if other:
        differing = "; ".join(f"{name} {before.get(name)!r} then, {told.get(name)!r} now" for name in other)
        raise CurationError(
            f"{out} was made with other settings ({differing}). Give the same ones, or another --out: items of two "
            "kinds are not mixed."
        )


@contextlib.contextmanager
def _held(out: Path) -> Iterator[None]:
    """Nobody else works in the folder; a process that is killed lets go of it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise CurationError(f"{out} can't be written to: {error.strerror}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CurationError(f"{out} is being worked on by another process. Wait for it, or end it.") from None
        yield
