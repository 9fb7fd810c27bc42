"""What is stored of a condition and of its trajectory, and where: the data that trainers read.

A data folder::

    cache/settings.json               what encoded the conditions (CacheSettings)
    cache/negative.safetensors        the negative prompt's text rows
    cache/KEY.safetensors             one condition, encoded (ConditionRecord)
    trajectories/settings.json        how the teacher sampled (TrajectorySettings)
    trajectories/KEY.safetensors      a trajectory that is not in a shard yet
    trajectories/shard-00000.safetensors

KEY is ``conditions.condition_key(id)``. A file of one trajectory and a shard are laid out alike: a tensor
[5,F,16,h,w] under each condition's **id**, and in the header the settings and every condition's digest, both as JSON.
Files appear whole or not at all, so a reader may come while others write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from livetalk.base.errors import LiveTalkError
from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.training.conditions import condition_key

CACHE, TRAJECTORIES = "cache", "trajectories"
SETTINGS, NEGATIVE = "settings.json", "negative.safetensors"
SHARD_PREFIX = "shard-"
FORMAT = 1

KEPT_STATES = (0, 12, 24, 36)
"""Steps of 48 whose states are kept, besides the final latent: where the student's four noise levels are."""


class RecordError(LiveTalkError):
    """A data folder is damaged, incomplete, or was made otherwise than asked for."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What encoded the conditions. Two caches are of one kind only if all of it is equal."""

    frames: int
    """Latent frames of a sample, F."""
    height: int
    """Latent rows, h."""
    width: int
    text_rows: int
    """Rows that cross-attention sees, the padding of zeros included."""
    text_width: int
    audio_width: int
    fps: int
    zero_first_row: bool
    """Whether the first audio row is zero, as at OmniAvatar's inference; the released student never saw one."""
    negative_prompt: str
    encoders: str
    """Fingerprint of the weights that encoded (``render.checkpoint``), or how random ones were drawn."""
    format: int = FORMAT

    @property
    def audio_rows(self) -> int:
        return 4 * self.frames - 3

    @property
    def negative_hash(self) -> str:
        return hashlib.sha256(self.negative_prompt.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TrajectorySettings:
    """How the teacher sampled. Trainers refuse shards of other settings, and a run refuses to add to them."""

    teacher: str
    """Which model, for people."""
    teacher_fingerprint: str
    steps: int
    shift: float
    text_scale: float
    """True scale: 1 is the conditional flow alone."""
    audio_scale: float
    negative_hash: str
    """SHA-256 of the negative prompt."""
    seed: int
    dtype: str
    """Of the stored states."""
    compute_dtype: str
    timesteps: tuple[float, ...]
    """What the network was shown at each step, after rounding."""
    kept: tuple[int, ...]
    """Steps of the stored states; the last is ``steps``, the final latent."""
    sigmas: tuple[float, ...]
    """Noise levels of the stored states, the last 0."""
    shard: int
    """Trajectories in a full shard."""
    format: int = FORMAT


Settings = TypeVar("Settings", CacheSettings, TrajectorySettings)


@dataclass(frozen=True, slots=True)
class ConditionRecord:
    """One encoded condition."""

    id: str
    digest: str
    """``Condition.digest`` of what it was made from."""
    text: Tensor
    """Valid rows of the prompt [T,text_width]; the padding after them is zeros."""
    audio: Tensor
    """Raw speech features [4F−3,audio_width]."""
    reference: Tensor
    """Latent of the picture [1,16,h,w], frame-major as latents are in training."""

    def context(self, rows: int) -> Tensor:
        """Text rows as the network sees them, [1,rows,text_width], padding included."""
        return padded_text(self.text, rows)


def padded_text(text: Tensor, rows: int) -> Tensor:
    """[T,C] to [1,rows,C] with zeros after the valid rows."""
    return torch.nn.functional.pad(text, (0, 0, 0, rows - len(text)))[None]


def valid_text(context: Tensor) -> Tensor:
    """[1,rows,C] to the rows up to the last that is not zero, [T,C]; at least one."""
    used = context[0].any(dim=1).nonzero()
    return context[0, : int(used[-1]) + 1 if len(used) else 1].contiguous()


def write_settings(folder: Path, settings: Settings) -> None:
    """State the settings of a folder, or find that they are the ones already stated there.

    Raises:
        RecordError: the folder holds records that were made otherwise; the message names what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    if not path.exists():
        partial = path.with_name(f".{SETTINGS}.{os.getpid()}.part")
        partial.write_text(json.dumps(asdict(settings), indent=1) + "\n", "utf-8")
        with contextlib.suppress(FileExistsError):  # of several that begin at once, one states them
            os.link(partial, path)
        partial.unlink()
    differing = differences(read_settings(folder, type(settings)), settings)
    if differing:
        raise RecordError(
            f"{folder} holds records that were made otherwise: {'; '.join(differing)}. Records of two kinds are not "
            "mixed; choose another folder, or the settings of this one."
        )


def read_settings(folder: Path, kind: type[Settings]) -> Settings:
    """
    Raises:
        RecordError: there are none, or not of this kind and version.
    """
    path = folder / SETTINGS
    try:
        return parse_settings(json.loads(path.read_text("utf-8")), kind)
    except OSError as error:
        raise RecordError(
            f"{path} can't be read ({error.strerror}). `livetalk train trajectories` writes such folders."
        ) from error
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path} is not what this version writes: {error}.") from error


def parse_settings(entry: Any, kind: type[Settings]) -> Settings:
    """
    Raises:
        ValueError, TypeError: it is something else.
    """
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} was expected")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    return kind(**values)


def differences(found: Settings, wanted: Settings) -> list[str]:
    """What differs, in words."""
    pairs = ((field.name, getattr(found, field.name), getattr(wanted, field.name)) for field in fields(found))
    return [f"{name} is {_short(there)} there, {_short(here)} here" for name, there, here in pairs if there != here]


def write_condition(folder: Path, record: ConditionRecord) -> None:
    """Into ``folder``/cache; replaces what is there under this condition's key."""
    tensors = {"text": record.text, "audio": record.audio, "reference": record.reference}
    metadata = {"id": record.id, "digest": record.digest}
    path = folder / CACHE / f"{condition_key(record.id)}.safetensors"
    write_whole(path, lambda partial: save_file(_stored(tensors), partial, metadata))


def write_negative(folder: Path, text: Tensor) -> None:
    """The negative prompt's valid rows."""
    path = folder / CACHE / NEGATIVE
    write_whole(path, lambda partial: save_file(_stored({"text": text}), partial))


def write_trajectories(
    path: Path, states: Mapping[str, Tensor], digests: Mapping[str, str], settings: TrajectorySettings
) -> None:
    """A file of one trajectory, or a shard: [5,F,16,h,w] by id."""
    metadata = {"settings": json.dumps(asdict(settings)), "conditions": json.dumps(dict(digests))}
    write_whole(path, lambda partial: save_file(_stored(states), partial, metadata))


class ConditionReader:
    """The encoded conditions of a data folder.

    Raises:
        RecordError: the folder has none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / CACHE
        self.settings = read_settings(self.folder, CacheSettings)

    def path(self, identity: str) -> Path:
        return self.folder / f"{condition_key(identity)}.safetensors"

    def digest(self, identity: str) -> str | None:
        """Of what a condition's record was made from; None where there is no record."""
        path = self.path(identity)
        if not path.exists():
            return None
        with _opened(path) as file:
            return (file.metadata() or {}).get("digest")

    def ids(self) -> list[str]:
        """Of all conditions that are there, sorted."""
        found = []
        for path in self.folder.glob("*.safetensors"):
            if path.name != NEGATIVE:
                with _opened(path) as file:
                    found.append((file.metadata() or {}).get("id", ""))
        return sorted(found)

    def read(self, identity: str) -> ConditionRecord:
        """
        Raises:
            RecordError: it is not there, or damaged.
        """
        with _opened(self.path(identity)) as file:
            metadata = file.metadata() or {}
            parts = {name: _tensor(file, self.path(identity), name) for name in ("text", "audio", "reference")}
        if metadata.get("id") != identity:
            raise RecordError(f"{self.path(identity)} is a record of {metadata.get('id')!r}, not of {identity!r}.")
        return ConditionRecord(identity, metadata.get("digest", ""), **parts)

    def has_negative(self) -> bool:
        return (self.folder / NEGATIVE).exists()

    def negative(self) -> Tensor:
        """Text rows of the negative prompt as the network sees them, [1,rows,text_width]."""
        path = self.folder / NEGATIVE
        with _opened(path) as file:
            return padded_text(_tensor(file, path, "text"), self.settings.text_rows)


class TrajectoryReader:
    """The trajectories of a data folder, those in shards and those that are not yet.

    Args:
        wanted: settings that the trajectories must have; by default those that the folder states. Every file's own
            header is compared.

    Raises:
        RecordError: there are none, or they were made otherwise.
    """

    def __init__(self, folder: Path, wanted: TrajectorySettings | None = None) -> None:
        self.folder = folder / TRAJECTORIES
        self.settings = read_settings(self.folder, TrajectorySettings)
        if wanted is not None and (differing := differences(self.settings, wanted)):
            raise RecordError(f"{self.folder} was made otherwise: {'; '.join(differing)}.")
        self._places: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again for files that have come, or have been joined to a shard."""
        places: dict[str, Path] = {}
        # A shard comes last: where it was written and the single files not yet removed, it counts.
        files = self.folder.glob("*.safetensors")
        for path in sorted(files, key=lambda path: (path.name.startswith(SHARD_PREFIX), path.name)):
            try:
                digests = read_digests(path, self.settings)
            except FileNotFoundError:  # joined to a shard between the listing and now
                continue
            places.update(dict.fromkeys(digests, path))
            self._digests.update(digests)
        self._places = places

    def ids(self) -> list[str]:
        """Of all trajectories, sorted: the same on every rank."""
        return sorted(self._places)

    def digest(self, identity: str) -> str | None:
        """Of the condition that a trajectory was made from; None where there is no trajectory."""
        return self._digests.get(identity)

    def place(self, identity: str) -> Path:
        """The file that holds a trajectory.

        Raises:
            RecordError: none does.
        """
        if identity not in self._places:
            raise RecordError(f"{self.folder} holds no trajectory of {identity!r}.")
        return self._places[identity]

    def states(self, identity: str) -> Tensor:
        """All five states [5,F,16,h,w], noisiest first; frame 0 is the reference latent in each."""
        with self._file(identity) as file:
            return _tensor(file, self._places[identity], identity)

    def training_pair(self, identity: str, levels: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Input and target of the ODE loss; of each block only the state that is asked for is read.

        Args:
            levels: index of the state (0 the noisiest) of each block of three latent frames.

        Returns:
            The blocks' states joined, and the final latent, both [F,16,h,w].
        """
        with self._file(identity) as file:
            part = file.get_slice(identity)
            frames = part.get_shape()[1]
            if len(levels) * FRAMES_PER_BLOCK != frames:
                raise ValueError(f"{len(levels)} levels for {frames} latent frames in blocks of {FRAMES_PER_BLOCK}")
            blocks = [
                part[level, FRAMES_PER_BLOCK * block : FRAMES_PER_BLOCK * (block + 1)]
                for block, level in enumerate(levels)
            ]
            return torch.cat(blocks), part[-1]

    def _file(self, identity: str) -> Any:
        if not self.place(identity).exists():
            self.refresh()
        return _opened(self.place(identity))


def read_digests(path: Path, settings: TrajectorySettings) -> dict[str, str]:
    """Ids in a file of trajectories, and the digest of the condition that each was made from.

    Raises:
        RecordError: the file is damaged, or its header says that it was made with other settings.
        FileNotFoundError: it has gone.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    with _opened(path) as file:
        metadata, names = file.metadata() or {}, set(file.keys())
    try:
        found = parse_settings(json.loads(metadata["settings"]), TrajectorySettings)
        digests: dict[str, str] = json.loads(metadata["conditions"])
    except (KeyError, ValueError, TypeError) as error:
        raise RecordError(f"{path} is no file of trajectories of this version ({error}). Remove it.") from error
    if differing := differences(found, settings):
        raise RecordError(f"{path} was made otherwise than the folder says: {'; '.join(differing)}. Remove it.")
    if set(digests) != names:
        raise RecordError(f"{path} holds other trajectories than its header lists. Remove it.")
    return digests


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees a part of it.

    Whoever may read what the process usually writes may read it: safetensors by itself lets in the owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with partial.open("wb") as placed:
        mode = stat.S_IMODE(os.fstat(placed.fileno()).st_mode)
    write(partial)
    partial.chmod(mode)
    partial.replace(path)


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise RecordError(
            f"{path} can't be read ({str(error).splitlines()[0]}). Remove it, and run `livetalk train trajectories` "
            "again."
        ) from error


def _tensor(file: Any, path: Path, name: str) -> Tensor:
    try:
        tensor: Tensor = file.get_tensor(name)
    except SafetensorError as error:
        raise RecordError(
            f"{path} holds no {name!r}. Remove it, and run `livetalk train trajectories` again."
        ) from error
    return tensor


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
