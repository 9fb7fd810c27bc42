"""The process in which FunASR runs: it speaks the worker protocol of :mod:`interbench.worker`.

The three models are driven one after the other from here rather than by FunASR's own pipeline, for two reasons:
segments of many utterances share a batch, and a segment in which the recogniser finds no word does not take the words
of the others with it (FunASR 1.4 then returns an empty transcript for the whole file).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.asr.sound import RATE
from interbench.worker import serve

REVISION = "v2.0.4"
"""The tag of all three models' files: the one that FunASR's examples name since its version 1.0 (see docs/asr.md)."""
_UNTAGGED = "master"
"""What FunASR itself fetches when no revision is named."""
_BATCH_S = {"cuda": 240.0, "cpu": 60.0}
"""Padded seconds of sound in a batch."""


class SetupError(Exception):
    """FunASR or a model is not there; the message says what to do."""

    code = "setup"


@dataclass(frozen=True)
class Settings:
    """What to load. A model is a local folder or an id in the hub's cache."""

    model: str
    revision: str | None
    """None: :data:`REVISION`, or with a note what FunASR itself has fetched. Also for the other two."""
    vad_model: str
    vad_revision: str | None
    punc_model: str
    punc_revision: str | None
    device: str
    """``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``."""
    longest_segment_s: float


def locate(model: str, revision: str | None) -> tuple[Path, str]:
    """The folder of a model, without network, and a note if it is not of the revision that was pinned.

    Args:
        model: a folder, or an id in the hub's cache.
        revision: exactly this one; None: :data:`REVISION`, else what FunASR itself fetches.

    Raises:
        SetupError: it is neither a folder nor in the hub's cache, or the folder holds no model.
    """
    named = Path(model).expanduser()
    folder, note = (named, "") if named.is_dir() else (None, "")
    if folder is None:
        wanted = revision or REVISION
        folder = _cached(model, wanted)
        if folder is None and revision is None:
            folder = _cached(model, _UNTAGGED)
        if folder is None:
            raise SetupError(
                f"The speech model {model} is neither a folder nor, as revision {wanted}, in ModelScope's cache. "
                f"Fetch it once with `modelscope download --model {model} --revision {wanted}`, give the folder it "
                f"lies in, or take the systems' word for what they say (--transcriber given). Nothing is downloaded "
                f"during a run."
            )
        if folder.name != wanted:
            found = f"revision {folder.name}" if folder.parent.name == "snapshots" else "a cache that tells no revision"
            note = f"the speech model {model} is taken from {found} instead of {wanted}"
    for name in ("config.yaml", "model.pt"):
        if not (folder / name).is_file():
            raise SetupError(
                f"The folder {folder} holds no FunASR model: {name} is missing. Was the download of {model} cut short?"
            )
    return folder, note


def _cached(model: str, revision: str) -> Path | None:
    """Where ModelScope keeps the files, if it has them."""
    try:
        hub = importlib.import_module("modelscope.hub.snapshot_download")
    except ImportError:
        raise SetupError("FunASR is not installed; install it with `pip install 'interbench[asr]'`.") from None
    try:
        return Path(hub.snapshot_download(model, revision=revision, local_files_only=True))
    except Exception:
        return None


class Recogniser:
    """The three models, loaded."""

    def __init__(self, settings: Settings) -> None:
        found = {
            "model": locate(settings.model, settings.revision),
            "vad": locate(settings.vad_model, settings.vad_revision),
            "punc": locate(settings.punc_model, settings.punc_revision),
        }
        folders = {name: folder for name, (folder, _) in found.items()}
        if importlib.util.find_spec("funasr") is None:
            raise SetupError("FunASR is not installed; install it with `pip install 'interbench[asr]'`.")
        import torch

        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise SetupError(f"The transcriber was told to use {device}, but PyTorch sees no GPU; use device=cpu.")
        from funasr import AutoModel

        common = {
            "device": device,
            "ncpu": min(4, os.cpu_count() or 1),
            "disable_update": True,
            "disable_pbar": True,
            "log_level": "ERROR",
        }
        # Dither is noise added to the sound: without it the same clip always gives the same transcript.
        quiet = {"frontend_conf": {"dither": 0.0}}
        longest = int(settings.longest_segment_s * 1000)
        self._asr = AutoModel(model=str(folders["model"]), **quiet, **common)
        self._vad = AutoModel(model=str(folders["vad"]), max_single_segment_time=longest, **quiet, **common)
        self._punc = AutoModel(model=str(folders["punc"]), **common)
        self._word_times = not hasattr(self._asr.kwargs.get("tokenizer"), "bpemodel")
        self._batch_s = _BATCH_S["cuda" if device.startswith("cuda") else "cpu"]
        self.weights = {name: _sha256(folder / "model.pt") for name, folder in folders.items()}
        self.notes = [note for _, note in found.values() if note]
        self.device = device

    def transcribe(self, sounds: Sequence[npt.NDArray[np.float32]]) -> list[dict[str, Any]]:
        """Per sound: ``text``, ``words`` as [word, start s, end s] lists, ``flags``."""
        spoken = [self._segments(sound) for sound in sounds]
        found: dict[tuple[int, int], tuple[list[str], list[list[int]] | None]] = {}
        everything = [
            ((index, start), sounds[index][start * RATE // 1000 : end * RATE // 1000])
            for index, segments in enumerate(spoken)
            for start, end in segments
        ]
        for batch in _batches(everything, self._batch_s):
            results = self._recognise([samples for _, samples in batch])
            found |= {key: result for (key, _), result in zip(batch, results, strict=True)}
        return [self._transcript(index, segments, found) for index, segments in enumerate(spoken)]

    def _segments(self, sound: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
        """Where there is speech, in milliseconds."""
        if len(sound) < RATE // 10:
            return []
        value = self._vad.generate(input=sound)[0].get("value") or []
        last = len(sound) * 1000 // RATE
        return [(max(0, start), min(end, last)) for start, end in value if min(end, last) - max(0, start) >= 50]

    def _recognise(self, batch: Sequence[npt.NDArray[np.float32]]) -> list[tuple[list[str], list[list[int]] | None]]:
        """Words per segment and their times in it, in milliseconds; None where the model tells no times."""
        results = None
        if self._word_times:
            try:
                results = self._asr.generate(input=list(batch), batch_size=len(batch), pred_timestamp=True)
            except (IndexError, ValueError):
                # FunASR's time marks fall out of step with some token sequences; the words are worth having anyway.
                results = None
        if results is None:
            results = self._asr.generate(input=list(batch), batch_size=len(batch), pred_timestamp=False)
        if len(results) != len(batch):
            # FunASR answers once for a whole batch in which it heard no word.
            results = [{}] * len(batch)
        recognised = []
        for result in results:
            words = str(result.get("text", "")).split()
            times = result.get("timestamp")
            recognised.append((words, times if times is not None and len(times) == len(words) else None))
        return recognised

    def _transcript(
        self,
        index: int,
        segments: Sequence[tuple[int, int]],
        found: dict[tuple[int, int], tuple[list[str], list[list[int]] | None]],
    ) -> dict[str, Any]:
        words: list[list[Any]] = []
        plain: list[str] = []
        timed = True
        for start, _ in segments:
            spoken, times = found[index, start]
            plain += spoken
            timed = timed and (times is not None or not spoken)
            for word, (begin, end) in zip(spoken, times or (), strict=False):
                words.append([word, (start + begin) / 1000, (start + end) / 1000])
        if not plain:
            return {"text": "", "words": [], "flags": ["no_speech"]}
        return {
            "text": self._punctuated(" ".join(plain)),
            "words": words if timed else [],
            "flags": [] if timed else ["no_word_times"],
        }

    def _punctuated(self, text: str) -> str:
        answer = self._punc.generate(input=[text])
        # The model can choose its unknown mark as punctuation.
        return str(answer[0].get("text", "")).replace("<unk>", "").strip() or text


def _batches(
    items: Sequence[tuple[tuple[int, int], npt.NDArray[np.float32]]], most_s: float
) -> Iterator[list[tuple[tuple[int, int], npt.NDArray[np.float32]]]]:
    """Segments of similar length together, at most ``most_s`` seconds with padding (but always one)."""
    batch: list[tuple[tuple[int, int], npt.NDArray[np.float32]]] = []
    for item in sorted(items, key=lambda item: (len(item[1]), item[0])):
        if batch and len(item[1]) * (len(batch) + 1) > most_s * RATE:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_LOADED: dict[Settings, Recogniser] = {}


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """``settings`` and the raw float32 ``files`` to transcribe, none to load the models only."""
    settings = Settings(**request["settings"])
    if settings not in _LOADED:
        _LOADED.clear()
        _LOADED[settings] = Recogniser(settings)
    recogniser = _LOADED[settings]
    sounds = [np.fromfile(path, np.float32) for path in request["files"]]
    return {
        "transcripts": recogniser.transcribe(sounds),
        "weights": recogniser.weights,
        "notes": recogniser.notes,
        "device": recogniser.device,
    }


def settings_request(settings: Settings, files: Sequence[Path]) -> dict[str, Any]:
    """The request that :func:`handle` takes."""
    return {"settings": asdict(settings), "files": [str(path) for path in files]}


if __name__ == "__main__":
    serve(handle)
