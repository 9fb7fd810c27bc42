"""Samples from a data folder (``livetalk.training.records``), as updates take them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from livetalk.render.config import FRAMES_PER_BLOCK, DiTConfig
from livetalk.training.records import ConditionReader, RecordError, TrajectoryReader
from livetalk.training.rollout import Conditions
from livetalk.training.schedules import student_levels

SAME_LEVEL = 1e-4


class Samples:
    """Encoded conditions, and for the ODE stage their trajectories.

    Args:
        folder: as ``livetalk train trajectories`` fills it.
        config: dimensions of the student.
        trajectories: whether they are needed.
        guidance: the true scale that they must have been sampled with.

    Raises:
        RecordError: there is nothing, or it does not fit the network, or the trajectories are of other settings or made
            from other conditions.
    """

    def __init__(self, folder: Path, config: DiTConfig, *, trajectories: bool, guidance: float | None = None) -> None:
        self.folder = folder
        self.conditions = ConditionReader(folder)
        self.settings = self.conditions.settings
        self._check_cache(config)
        self.negative = self.conditions.negative()[0]
        self.trajectories = TrajectoryReader(folder) if trajectories else None
        if self.trajectories is None:
            self.ids = self.conditions.ids()
        else:
            self.ids = self.trajectories.ids()
            self._check_trajectories(guidance)
        if not self.ids:
            raise RecordError(f"{folder} holds no samples yet; `livetalk train trajectories` makes them.")

    def identity(self) -> dict[str, Any]:
        """What the run's samples are, so that it goes on with no others."""
        content = [[name, self.conditions.digest(name)] for name in self.ids]
        found: dict[str, Any] = {
            "samples": len(self.ids),
            "samples_sha256": hashlib.sha256(json.dumps(content).encode()).hexdigest(),
            "cache": asdict(self.settings),
        }
        if self.trajectories is not None:
            found["trajectories"] = asdict(self.trajectories.settings)
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]

    @property
    def frames(self) -> int:
        """Latent frames of every sample."""
        return self.settings.frames

    def read(self, identity: str, device: torch.device) -> Conditions:
        """The conditions of one sample, in float32."""
        record = self.conditions.read(identity)
        text = record.context(self.settings.text_rows)[0]
        return Conditions(record.reference.float(), text.float(), self.negative.float(), record.audio.float()).to(
            device
        )

    def pair(self, identity: str, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Input and target of the ODE loss, [F,16,h,w] each; only what is needed of a trajectory is read."""
        assert self.trajectories is not None
        noisy, target = self.trajectories.training_pair(identity, indices)
        return noisy.to(device, torch.float32), target.to(device, torch.float32)

    def _check_cache(self, config: DiTConfig) -> None:
        found = self.settings
        wanted = {"text_width": config.text_dim, "audio_width": config.audio_feat_dim}
        wrong = [
            f"{name} {getattr(found, name)} instead of {value}"
            for name, value in wanted.items()
            if getattr(found, name) != value
        ]
        if found.frames % FRAMES_PER_BLOCK:
            wrong.append(f"{found.frames} latent frames, which are not whole blocks of {FRAMES_PER_BLOCK}")
        if wrong:
            raise RecordError(f"{self.folder} was encoded for another network: {', '.join(wrong)}.")

    def _check_trajectories(self, guidance: float | None) -> None:
        assert self.trajectories is not None
        settings = self.trajectories.settings
        wanted = [*student_levels("exact").tolist(), 0.0]
        if len(settings.sigmas) != len(wanted) or any(
            abs(a - b) > SAME_LEVEL for a, b in zip(settings.sigmas, wanted, strict=True)
        ):
            levels = ", ".join(f"{level:.4g}" for level in settings.sigmas)
            raise RecordError(
                f"{self.folder} keeps its trajectories' states at noise levels {levels}; the student's are "
                f"{', '.join(f'{level:.4g}' for level in wanted)}."
            )
        if guidance is not None and (settings.text_scale, settings.audio_scale) != (guidance, guidance):
            raise RecordError(
                f"The trajectories of {self.folder} were sampled with scales {settings.text_scale} and "
                f"{settings.audio_scale}, the run asks for {guidance}. Say so with --guidance, or make others."
            )
        if settings.negative_hash != self.settings.negative_hash:
            raise RecordError(
                f"The trajectories of {self.folder} were made with another negative prompt than its cache."
            )
        known = set(self.conditions.ids())
        wrong = [
            name
            for name in self.ids
            if name not in known or self.trajectories.digest(name) != self.conditions.digest(name)
        ]
        if wrong:
            raise RecordError(
                f"{len(wrong)} trajectories of {self.folder} were made from other conditions than its cache holds, "
                f"such as {wrong[0]!r}. Run `livetalk train trajectories` again."
            )
