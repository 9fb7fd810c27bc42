"""The published weights that the metrics look through: what they are called, where they lie, what they hash to.

Nothing is fetched unasked: `interbench single --fetch` does, into one folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from interbench.base.errors import InterbenchError
from interbench.single.base import MetricError

FOLDER = "INTERBENCH_METRICS_WEIGHTS"
"""Variable of the environment that names the folder."""
FORMULA = "formula"
"""Instead of a file: weights by formula, which see nothing of the world and only show that everything runs."""
FETCH = "interbench single --fetch"
_BLOCK = 2**20
_HUB = "https://huggingface.co"


class FetchError(InterbenchError):
    """Weights can't be fetched, or are not what they should be."""


@dataclass(frozen=True, slots=True)
class File:
    """One published file."""

    name: str
    """Its name in the folder."""
    url: str
    """Where it lies; ``hub:owner/repository/path`` is on the model hub. Empty if no address could be established."""
    size: str
    sha256: str = ""
    """As far as it is known: the whole hash, or its beginning with … and perhaps its end. Empty if it is not."""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """What one network is loaded from."""

    name: str
    what: str
    files: tuple[File, ...]
    folder: str = ""
    """Where several files lie together, within the folder of the weights."""


_LATENTSYNC = "hub:ByteDance/LatentSync-1.5/auxiliary"
_VGG = "for research under CC BY, by the page of its authors (robots.ox.ac.uk/~vgg/software/lipsync)"
_QALIGN = "hub:q-future/one-align"

WEIGHTS: Mapping[str, Weights] = {
    one.name: one
    for one in (
        Weights(
            "syncnet",
            "SyncNet",
            (
                File(
                    "syncnet_v2.model",
                    f"{_LATENTSYNC}/syncnet_v2.model",
                    "54.6 MB",
                    "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                    _VGG,
                ),
            ),
        ),
        Weights(
            "s3fd",
            "S3FD, the face detector",
            (File("sfd_face.pth", f"{_LATENTSYNC}/sfd_face.pth", "89.8 MB", "d54a87c2…c491", _VGG),),
        ),
        Weights(
            "inception",
            "TensorFlow's Inception of 2015",
            (
                File(
                    "pt_inception-2015-12-05-6726825d.pth",
                    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                    "pt_inception-2015-12-05-6726825d.pth",
                    "about 96 MB",
                    "6726825d…",
                    "Apache-2.0",
                ),
            ),
        ),
        Weights(
            "i3d",
            "I3D on Kinetics-400, with logits",
            (File("i3d_pretrained_400.pt", "", "50.9 MB", "", "not established; the network's own is Apache-2.0"),),
        ),
        Weights(
            "qalign",
            "Q-Align (one-align)",
            tuple(
                File(name, f"{_QALIGN}/{name}", size, "", "MIT by its card; LLaMA-2 terms by its model zoo")
                for name, size in (
                    ("config.json", "small"),
                    ("pytorch_model.bin.index.json", "small"),
                    ("pytorch_model-00001-of-00002.bin", "9.99 GB"),
                    ("pytorch_model-00002-of-00002.bin", "6.42 GB"),
                    ("tokenizer.model", "500 kB"),
                )
            ),
            folder="one-align",
        ),
    )
}
OF_METRIC: Mapping[str, tuple[str, ...]] = {
    "fid": ("inception",),
    "fvd": ("i3d",),
    "sync": ("syncnet", "s3fd"),
    "iqa": ("qalign",),
    "ase": ("qalign",),
}


def weights_folder() -> Path:
    """Where weights lie: the folder that ``INTERBENCH_METRICS_WEIGHTS`` names, else the user's cache."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interbench" / "metrics"


def locate(name: str, given: str | None) -> Path:
    """The file or folder of the weights ``name``.

    Args:
        name: of :data:`WEIGHTS`.
        given: what the user named instead.

    Raises:
        MetricError: it is not there; says how to get it.
    """
    weights = WEIGHTS[name]
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists():
            raise MetricError(f"There are no weights of {weights.what} at {path}.")
        return path
    root = weights_folder() / weights.folder
    absent = [file.name for file in weights.files if not (root / file.name).is_file()]
    if absent:
        raise MetricError(
            f"The weights of {weights.what} are not there ({root / absent[0]}).",
            f"Fetch them: {FETCH} --metrics {metrics_of(name)}"
            if all(file.url for file in weights.files)
            else f"No address of them could be established: put {absent[0]} (docs/single.md) into {root}, or name it.",
        )
    return root if weights.folder else root / weights.files[0].name


def metrics_of(name: str) -> str:
    """A metric that needs these weights."""
    return next(metric for metric, names in OF_METRIC.items() if name in names)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_fits(known: str, found: str) -> bool:
    """Whether a hash is the one that is known, as far as it is."""
    beginning, gap, end = known.partition("…")
    if known and not gap:
        return found == known
    return found.startswith(beginning) and found.endswith(end)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one file."""

    file: File
    path: Path
    outcome: str
    """``there``, ``fetched``, or why not."""
    good: bool


def fetch(names: Iterator[str] | tuple[str, ...], tell: Callable[[str], None]) -> list[Fetched]:
    """Fetch what is not there yet; a file that hashes to something else is never put in its place."""
    done = []
    for name in names:
        weights = WEIGHTS[name]
        root = weights_folder() / weights.folder
        for file in weights.files:
            target = root / file.name
            if target.is_file():
                done.append(Fetched(file, target, "there", True))
            elif not file.url:
                done.append(Fetched(file, target, "no address is known; put it there yourself (docs/single.md)", False))
            else:
                tell(f"{file.name} ({file.size}; {file.licence})")
                done.append(_fetch_one(file, target))
    return done


def _fetch_one(file: File, target: Path) -> Fetched:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    try:
        with (
            httpx.stream("GET", address(file.url), follow_redirects=True, timeout=60) as answer,
            part.open("wb") as out,
        ):
            answer.raise_for_status()
            for block in answer.iter_bytes(_BLOCK):
                digest.update(block)
                out.write(block)
    except (httpx.HTTPError, OSError) as error:
        part.unlink(missing_ok=True)
        return Fetched(file, target, f"it can't be fetched from {address(file.url)}: {error}", False)
    if not hash_fits(file.sha256, digest.hexdigest()):
        part.unlink(missing_ok=True)
        return Fetched(
            file, target, f"what came hashes to {digest.hexdigest()}, not to {file.sha256}; it was thrown away", False
        )
    part.replace(target)
    return Fetched(file, target, f"fetched; sha256 {digest.hexdigest()}", True)


def address(url: str) -> str:
    """The URL of a file; those on the model hub follow ``HF_ENDPOINT``."""
    if not url.startswith("hub:"):
        return url
    owner, repository, path = url.removeprefix("hub:").split("/", 2)
    return f"{os.environ.get('HF_ENDPOINT', _HUB).rstrip('/')}/{owner}/{repository}/resolve/main/{path}"
