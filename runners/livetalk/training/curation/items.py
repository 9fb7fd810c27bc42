"""One item of a curation: cut, improved, measured, kept as a file; made once, however often it is asked for."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import wave
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from livetalk.base.errors import LiveTalkError
from livetalk.base.rates import AUDIO_RATE
from livetalk.training.curation.backends import PictureBackend, TextBackend
from livetalk.training.curation.clips import Cut, Picture, Samples
from livetalk.training.curation.faces import Face, FaceFinder
from livetalk.training.curation.fingerprints import Fingerprint, picture_hashes, sound_bits
from livetalk.training.curation.measures import Measured, measure
from livetalk.training.curation.scorers import ScoreMissingError, Scorer, checked

FORMAT = "livetalk.curation/1"


class ItemError(LiveTalkError):
    """A kept item can't be read again."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What items are made with; identities of all of it go into every item's name."""

    finder: FaceFinder | None
    scorers: Mapping[str, Scorer]
    restore: PictureBackend | None
    regenerate: PictureBackend | None
    texts: TextBackend | None

    def settings(self) -> dict[str, Any]:
        """What made an item, as plain data."""
        return {
            "faces": self.finder.identity if self.finder else "none",
            "scores": {name: scorer.identity for name, scorer in sorted(self.scorers.items())},
            "restore": self.restore.identity if self.restore else "none",
            "regenerate": self.regenerate.identity if self.regenerate else "none",
            "texts": self.texts.identity if self.texts else "none",
        }


@dataclass(frozen=True, slots=True)
class Item:
    """A condition in the making, as its file keeps it."""

    id: str
    clip: str
    """The clip's name, relative to the folder of clips."""
    clip_sha256: str
    start: float
    seconds: float
    values: dict[str, float]
    missing: dict[str, str]
    original: dict[str, float]
    """What the picture measured before anything was done to it; the same as ``values`` where nothing was."""
    steps: list[dict[str, str]]
    """What was done, in order: ``step`` and ``by``."""
    text: str
    text_by: str
    fingerprint: dict[str, Any]

    def found(self) -> Fingerprint:
        """What it is recognised by."""
        sound = self.fingerprint["sound"]
        packed = np.frombuffer(base64.b64decode(sound["signs"]), np.uint8)
        told = np.frombuffer(base64.b64decode(sound["told"]), np.uint8)
        count = sound["frames"]
        signs = np.unpackbits(packed, count=count * 32).reshape(count, 32).astype(np.int8) * 2 - 1
        bits = (signs * np.unpackbits(told, count=count).reshape(count, 1)).astype(np.int8)
        return Fingerprint(self.id, bits, tuple(int(value, 16) for value in self.fingerprint["pictures"]))


def item_id(clip_sha256: str, index: int, making: Mapping[str, Any]) -> str:
    """The name of an item: of the clip's bytes, which cut of it, and everything that it is made with."""
    told = json.dumps([FORMAT, clip_sha256, index, making], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def make_item(name: str, clip: str, digest: str, cut: Cut, text: str, text_by: str, tools: Tools, out: Path) -> Item:
    """Improve, measure and keep one cut: ``images/NAME.png``, ``speech/NAME.wav``, then ``items/NAME.json``.

    The item's file is the last that is written, whole or not at all: what a kill leaves without one is made again.

    Raises:
        BackendError: a back end did not do its work; nothing is kept, so that the next run tries again.
    """
    image, speech = out / "images" / f"{name}.png", out / "speech" / f"{name}.wav"
    original = image if tools.restore is None and tools.regenerate is None else image.with_suffix(".original.png")
    write_whole(speech, _wav(cut.speech))
    write_whole(original, _png(cut.picture))
    before = measure(cut.picture, cut.speech, tools.finder)
    picture, steps = cut.picture, []
    for step, backend in (("regenerate", tools.regenerate), ("restore", tools.restore)):
        if backend is not None:
            picture = backend.improve(picture, text)
            steps.append({"step": step, "by": backend.identity})
    if tools.texts is not None:
        text, text_by = tools.texts.refine(picture, text), tools.texts.identity
        steps.append({"step": "text", "by": tools.texts.identity})
    if original is not image:
        write_whole(image, _png(picture))
    after = before if picture is cut.picture else measure(picture, cut.speech, tools.finder)
    values, missing = dict(after.values), dict(after.missing)
    if picture is not cut.picture:
        _compare(before, after, cut.picture, picture, values, missing)
    for score, scorer in tools.scorers.items():
        try:
            values[score] = checked(scorer.score(image, speech, original))
        except ScoreMissingError as error:
            missing[score] = str(error)
    item = Item(
        id=name,
        clip=clip,
        clip_sha256=digest,
        start=cut.start,
        seconds=values["seconds"],
        values=values,
        missing=missing,
        original=dict(before.values),
        steps=steps,
        text=text,
        text_by=text_by,
        fingerprint=_fingerprint(cut, before.face),
    )
    write_whole(out / "items" / f"{name}.json", json.dumps(asdict(item), indent=1, sort_keys=True).encode())
    return item


def read_item(path: Path) -> Item:
    """An item that was kept.

    Raises:
        ItemError: its file is damaged.
    """
    try:
        return Item(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ItemError(
            f"{path} can't be read ({error}). Delete it; its clip is then cut and measured again."
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{threading.get_ident()}.part")
    partial.write_bytes(content)
    partial.replace(path)


def _compare(
    before: Measured,
    after: Measured,
    old: Picture,
    new: Picture,
    values: dict[str, float],
    missing: dict[str, str],
) -> None:
    """How far the face stayed where it was: a picture that was made anew must show the same pose."""
    if before.face is None or after.face is None:
        searched = "faces" in before.values
        missing["kept_face"] = "no face was found before or after" if searched else "no face detector was chosen"
        return
    values["kept_face"] = _overlap(before.face, old.shape[:2], after.face, new.shape[:2])


def _overlap(one: Face, of: tuple[int, ...], other: Face, other_of: tuple[int, ...]) -> float:
    """Intersection over union of two boxes, each relative to its own picture."""

    def box(face: Face, size: tuple[int, ...]) -> tuple[float, float, float, float]:
        height, width = size
        return (
            face.left / width,
            face.top / height,
            (face.left + face.width) / width,
            (face.top + face.height) / height,
        )

    a, b = box(one, of), box(other, other_of)
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across * down
    return across * down / union


def _fingerprint(cut: Cut, face: Face | None) -> dict[str, Any]:
    bits = sound_bits(cut.speech)
    told = bits[:, :1] != 0
    return {
        "sound": {
            "frames": len(bits),
            "signs": base64.b64encode(np.packbits(bits > 0).tobytes()).decode(),
            "told": base64.b64encode(np.packbits(told).tobytes()).decode(),
        },
        "pictures": [f"{one:016x}" for one in picture_hashes(cut.picture, face)],
    }


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _wav(speech: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(AUDIO_RATE)
        out.writeframes(np.round(np.clip(speech, -1, 32767 / 32768) * 32768).astype("<i2").tobytes())
    return file.getvalue()
