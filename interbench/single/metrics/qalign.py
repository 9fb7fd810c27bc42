"""IQA and ASE: how good pictures look, and how beautiful they are, by Q-Align on its scale from 1 to 5."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from interbench.media.pool import MediaPool
from interbench.single import qalign
from interbench.single.base import Clip, Column, Figure, Measured, Metric, MetricError, Taken
from interbench.single.figures import per_clip
from interbench.single.networks import INSTALL, Network, device_of, formula_caveat, network
from interbench.single.timing import one_per_second
from interbench.single.weights import FORMULA, locate

_BOS = 1


@dataclass(frozen=True, slots=True)
class _Model:
    """The network, and the tokens of its questions."""

    network: Network[Any]
    tokens: Mapping[tuple[qalign.Asked, qalign.Shown], list[int | None]]
    words: list[int]


_guard = threading.Lock()
_loaded: dict[tuple[str | None, str], _Model] = {}
_users: dict[tuple[str | None, str], int] = {}


def _enter(weights: str | None, device: str) -> _Model:
    """The model; 16 GB are loaded once for both metrics."""
    key = (weights, device)
    with _guard:
        if key not in _loaded:
            _loaded[key] = _load(weights, device)
        _users[key] = _users.get(key, 0) + 1
        return _loaded[key]


def _leave(weights: str | None, device: str) -> None:
    key = (weights, device)
    with _guard:
        _users[key] -= 1
        if not _users[key]:
            del _users[key], _loaded[key]


def _load(weights: str | None, device: str) -> _Model:
    kind = "float16" if device_of(device).type == "cuda" else "float32"
    from interbench.single.nets.mplug_owl2 import AbstractorConfig, Owl, OwlConfig, VisionConfig

    if weights == FORMULA:
        small = OwlConfig(
            64, 32, 48, 2, 4, 4,
            vision=VisionConfig(32, 48, 2, 4, qalign.SIDE, 56),
            abstractor=AbstractorConfig(4, 32, 2, 4, 48, encoder_hidden_size=32),
        )  # fmt: skip
        tokens = {pair: qalign.token_ids([[_BOS, *range(2, 9)], [_BOS, *range(9, 20)]], _BOS) for pair in _questions()}
        return _Model(network("qalign", lambda: Owl(small), FORMULA, device), tokens, [20, 21, 22, 23, 24])
    folder = locate("qalign", weights)
    try:
        config = OwlConfig.read(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MetricError(f"{folder}/config.json does not describe a Q-Align model ({error}).") from error
    encode = _tokenizer(folder / "tokenizer.model")
    tokens = {pair: _prompt_tokens(encode, pair) for pair in _questions()}
    words = [encode(word)[1] for word in qalign.WORDS]
    return _Model(network("qalign", lambda: Owl(config), str(folder), device, kind), tokens, words)


def _questions() -> list[tuple[qalign.Asked, qalign.Shown]]:
    return [("quality", "image"), ("quality", "video"), ("aesthetics", "image")]


def _prompt_tokens(encode: Any, pair: tuple[qalign.Asked, qalign.Shown]) -> list[int | None]:
    pieces = qalign.prompt(*pair).split(qalign.PICTURE)
    return qalign.token_ids([encode(piece) for piece in pieces], _BOS)


def _tokenizer(path: Path) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise MetricError("Q-Align's tokenizer needs sentencepiece, which is not installed.", INSTALL) from error
    try:
        processor = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise MetricError(f"{path} is no tokenizer ({error}).") from error
    return lambda text: [_BOS, *processor.encode(text)]


class _Rated(Metric):
    """Q-Align on one frame a second."""

    asked: ClassVar[qalign.Asked]
    key: ClassVar[str]

    def __init__(self, weights: str | None, device: str, shown: qalign.Shown) -> None:
        self._weights, self._device, self._shown = weights, device, shown
        self._model: _Model | None = None

    async def start(self) -> None:
        self._model = await asyncio.to_thread(_enter, self._weights, self._device)

    def identity(self) -> Mapping[str, Any]:
        return {
            "metric": self.key,
            "weights": self._ready.network.weights,
            "asked": self.asked,
            "shown": self._shown,
            "scale": "1 to 5",
        }

    @property
    def caveats(self) -> tuple[str, ...]:
        heading = self.columns[0].heading
        how = (
            f"{heading}: Q-Align's {self.asked} on 1 to 5, one frame a second, "
            + ("all frames of a clip in one question (video prompt)" if self._shown == "video" else "mean over frames")
            + "."
        )
        return how, *formula_caveat({heading: self._ready.network})

    @property
    def _ready(self) -> _Model:
        assert self._model is not None, "start comes first"
        return self._model

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        assert clip.facts is not None
        wanted = one_per_second(clip.facts.frames, clip.facts.fps)
        if not wanted:
            return Measured(missing="shorter than a second")
        kept: list[npt.NDArray[np.uint8]] = []
        async for stretch in media.sequence(clip.path):
            inside = range(stretch.first, stretch.first + len(stretch.pixels))
            kept += [stretch.pixels[number - stretch.first] for number in wanted if number in inside]
        scores = await asyncio.to_thread(self._scores, kept)
        return Measured({self.key: float(np.mean(scores))}, detail={"scores": scores, "frames": wanted})

    def _scores(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[float]:
        import torch

        model = self._ready
        module = model.network.module
        ready = torch.stack([torch.from_numpy(_normalised(picture)) for picture in pictures])
        ready = ready.to(module.lm_head.weight)
        groups = [ready] if self._shown == "video" else ready.split(1)
        tokens = model.tokens[self.asked, self._shown]
        with torch.inference_mode():
            logits = [module.next_logits(tokens, group)[model.words].float().cpu().numpy() for group in groups]
        return [float(score) for score in qalign.scores(np.stack(logits))]

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        return {self.key: per_clip(own, self.key, seed=seed)}

    async def stop(self) -> None:
        if self._model is not None:
            self._model = None
            _leave(self._weights, self._device)


def _normalised(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """[3, 448, 448] as CLIP takes it."""
    image = Image.fromarray(qalign.squared(picture)).resize((qalign.SIDE, qalign.SIDE), Image.Resampling.BICUBIC)
    unit = np.asarray(image, np.float32) / 255
    ready = (unit - np.array(qalign.MEAN, np.float32)) / np.array(qalign.DEVIATION, np.float32)
    return np.ascontiguousarray(ready.transpose(2, 0, 1))


class Iqa(_Rated):
    """Q-Align's quality, 1 to 5.

    Args:
        weights: the folder of one-align if it lies elsewhere; formula for a small model with weights by formula.
        shown: image for one question a frame and their mean, video for one question a clip.
        device: auto, cpu, cuda, cuda:1 …
    """

    columns = (Column("iqa", "IQA", "higher", "Q-Align's quality of one frame a second, from 1 to 5"),)
    asked = "quality"
    key = "iqa"

    def __init__(self, weights: str | None = None, shown: qalign.Shown = "image", device: str = "auto") -> None:
        super().__init__(weights, device, shown)


class Ase(_Rated):
    """Q-Align's aesthetics, 1 to 5, a question a frame: it was trained on single pictures.

    Args:
        weights: the folder of one-align if it lies elsewhere; formula for a small model with weights by formula.
        device: auto, cpu, cuda, cuda:1 …
    """

    columns = (Column("ase", "ASE", "higher", "Q-Align's aesthetics of one frame a second, from 1 to 5"),)
    asked = "aesthetics"
    key = "ase"

    def __init__(self, weights: str | None = None, device: str = "auto") -> None:
        super().__init__(weights, device, "image")
