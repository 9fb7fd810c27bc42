"""``livetalk train export``: a student in the released format, for `livetalk generate --weights`.

One safetensors file under the published names, 857 of them for LiveTalk-1.3B: stacked projections split, the patch
embedding whole, nothing else (no optimiser, no critic).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from livetalk.base import termination
from livetalk.base.errors import OutputError
from livetalk.render.checkpoint import check, check_dit
from livetalk.render.config import DiTConfig
from livetalk.render.model import reference_shapes
from livetalk.render.model.weights import shape_digest
from livetalk.training.checkpoints import PROGRESS, RunError, newest, read_progress
from livetalk.training.records import write_whole

ExportedType = Literal["bfloat16", "float32"]

PUBLISHED_DIGEST = "2bf9513c7a3e908015f11a800fc9b820"
"""By which the published code recognises LiveTalk-1.3B."""

_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    tensors: int
    parameters: int
    digest: str
    """MD5 over names and shapes, by which published code recognises a model."""
    source: str

    @property
    def as_published(self) -> bool:
        """Whether the published inference code takes it for LiveTalk-1.3B."""
        return self.digest == PUBLISHED_DIGEST


def export(
    state: Mapping[str, Tensor],
    config: DiTConfig,
    path: Path,
    *,
    dtype: ExportedType = "bfloat16",
    about: Mapping[str, str] | None = None,
) -> Exported:
    """Write a student's tensors, given under their published names, and read the file's header back.

    Args:
        about: written into the file's header.

    Raises:
        CheckpointError: names or shapes are not those of a student of these dimensions.
        RunError: it holds values that are not numbers.
        OutputError: nothing can be written there.
    """
    require_place(path)
    about = dict(about or {})
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    check(Path(about.get("source", "the student")), shapes, reference_shapes(config), "a student")
    kind: torch.dtype = getattr(torch, dtype)
    tensors = {name: state[name].detach().to("cpu", kind).contiguous() for name in reference_shapes(config)}
    if broken := [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]:
        raise RunError(
            f"{len(broken)} tensors hold values that are not numbers, such as {broken[0]}. Nothing was written; export "
            "an earlier checkpoint."
        )
    digest = shape_digest(shapes)
    metadata = {"format": "pt", "made_with": "livetalk train export", "dtype": dtype, "shape_digest": digest, **about}
    try:
        with termination.undivided():
            write_whole(path, lambda partial: save_file(tensors, partial, metadata))
    except OSError as error:
        path.with_name(f".{path.name}.part").unlink(missing_ok=True)
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error
    check_dit(path, config)
    parameters = sum(value.numel() for value in tensors.values())
    return Exported(path, len(tensors), parameters, digest, about.get("source", ""))


def describe_run(source: Path) -> dict[str, str]:
    """What the header tells of a run's checkpoint: stage, step, settings and data, as JSON texts.

    Nothing for a path that is no run.
    """
    if not source.is_dir():
        return {}
    place = newest(source)
    progress = read_progress(place)
    return {
        "checkpoint": place.name,
        PROGRESS.removesuffix(".json"): json.dumps(progress, sort_keys=True),
    }


def require_place(path: Path) -> None:
    """
    Raises:
        OutputError: the path is a folder, has no folder, or ends otherwise.
    """
    if path.is_dir() or path.suffix != _SUFFIX:
        raise OutputError(f"{path} is not the name of a {_SUFFIX} file; give one.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent}. Make it, or choose another --out.")
