"""The process in which FunASR runs: it speaks the worker protocol of :mod:`interbench.base.workers`.

The three models are driven one after the other from here rather than by FunASR's own pipeline, for two reasons:
segments of many utterances share a batch, and a segment in which the recogniser finds no word does not take the words
of the others with it (FunASR 1.4 then returns an empty transcript for the whole file).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interbench.asr.funasr_engine import import_engine, import_everything
from interbench.asr.sound import RATE
from interbench.base.answering import serve

if TYPE_CHECKING:
    import torch

REVISION = "v2.0.4"
"""The tag of all three models' files: the one that FunASR's examples name since its version 1.0 (see docs/asr.md)."""
_UNTAGGED = "master"
"""What FunASR itself fetches when no revision is named."""
_BATCH_S = {"cuda": 240.0, "cpu": 60.0}
"""Padded seconds of sound in a batch."""
_SURE = 1e-7
"""A probability as far from 0 and 1 as single precision can tell."""
_WEIGHTS = "model.pt"
_UNREGISTERED = re.compile(r"not registered|NoneType")
"""What FunASR says of a class that is not in its registry."""
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_NOT_INSTALLED = "FunASR is not installed; install it with `pip install 'interbench[asr]'`."
_ROLES = {"model": "recogniser", "vad": "voice activity model", "punc": "punctuation model"}
_ANSWERS = {"model": "text", "vad": "value", "punc": "text"}
"""The key under which each kind of model answers."""


class SetupError(Exception):
    """FunASR or a model is not there; the message says what to do."""

    code = "setup"


@dataclass(frozen=True)
class ModelSettings:
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
        model: a folder, or an id in ModelScope's or Hugging Face's cache.
        revision: exactly this one; None: :data:`REVISION`, else what FunASR itself fetches.

    Raises:
        SetupError: it is neither a folder nor in the hub's cache, or the folder holds no model.
    """
    named = Path(model).expanduser()
    folder, note = (named, "") if named.is_dir() else (None, "")
    if folder is None:
        if _HUB_ID.fullmatch(model) is None:
            raise SetupError(
                f"There is no folder {model}, and a speech model in a hub's cache has a name like owner/model. Give "
                f"the folder that holds its {_WEIGHTS}."
            )
        wanted = revision or REVISION
        folder = _cached(model, revision)
        if folder is None:
            raise SetupError(
                f"The speech model {model} is neither a folder nor, as revision {wanted}, in ModelScope's cache, nor "
                f"in Hugging Face's. Fetch it once with `modelscope download --model {model} --revision {wanted}`, "
                f"give the folder it lies in, or take the systems' word for what they say (--transcriber given). "
                f"Nothing is downloaded during a run."
            )
        if folder.name != wanted:
            found = f"revision {folder.name}" if folder.parent.name == "snapshots" else "a cache that tells no revision"
            note = f"the speech model {model} is taken from {found} instead of {wanted}"
    for name in ("config.yaml", _WEIGHTS):
        if not (folder / name).is_file():
            raise SetupError(
                f"The folder {folder} holds no FunASR model: {name} is missing. Was the download of {model} cut short?"
            )
    return folder, note


def _cached(model: str, revision: str | None) -> Path | None:
    """Where a hub's client keeps the files, if it has them.

    Args:
        revision: exactly this one; None: :data:`REVISION`, else what FunASR itself fetches, from either hub.
    """
    try:
        modelscope = importlib.import_module("modelscope.hub.snapshot_download")
        huggingface = importlib.import_module("huggingface_hub")
    except ImportError:
        raise SetupError(_NOT_INSTALLED) from None
    places = [(modelscope, wanted) for wanted in ([REVISION, _UNTAGGED] if revision is None else [revision])]
    for hub, wanted in [*places, (huggingface, revision)]:
        with contextlib.suppress(Exception):
            return Path(hub.snapshot_download(model, revision=wanted, local_files_only=True))
    return None


class Recogniser:
    """The three models, loaded."""

    def __init__(self, settings: ModelSettings) -> None:
        found = {
            "model": locate(settings.model, settings.revision),
            "vad": locate(settings.vad_model, settings.vad_revision),
            "punc": locate(settings.punc_model, settings.punc_revision),
        }
        folders = {name: folder for name, (folder, _) in found.items()}
        _require_torch()
        device = _device(settings.device)
        _require_engine(folders.values())
        common = {
            "device": device,
            "ncpu": min(4, os.cpu_count() or 1),
            "disable_update": True,
            "disable_pbar": True,
            "log_level": "ERROR",
            # A model is data: FunASR would run Python code that a model's folder brings along.
            "trust_remote_code": False,
        }
        # Dither is noise added to the sound: without it the same clip always gives the same transcript.
        quiet = {"frontend_conf": {"dither": 0.0}}
        longest = int(settings.longest_segment_s * 1000)
        self.notes = [note for _, note in found.values() if note]
        self._asr = self._load("model", folders["model"], **quiet, **common)
        self._vad = self._load("vad", folders["vad"], max_single_segment_time=longest, **quiet, **common)
        self._punc = self._load("punc", folders["punc"], **common)
        self._word_times = not hasattr(self._asr.kwargs.get("tokenizer"), "bpemodel")
        self._batch_s = _BATCH_S["cuda" if device.startswith("cuda") else "cpu"]
        self.weights = {name: _sha256(folder / _WEIGHTS) for name, folder in folders.items()}
        self.device = device

    def _load(self, name: str, folder: Path, **options: Any) -> Any:
        """One model, seen to be what it should be: FunASR itself goes on with random weights and with wrong models."""
        from funasr import AutoModel

        role = _ROLES[name]
        try:
            try:
                loaded = AutoModel(model=str(folder), **options)
            except Exception as error:
                if _UNREGISTERED.search(str(error)) is None:
                    raise
                import_everything()
                loaded = AutoModel(model=str(folder), **options)
            strange, absent = _misfits(folder / _WEIGHTS, loaded.model)
        except Exception as error:
            raise SetupError(
                f"The {role} in {folder} can't be loaded ({_reason(error)}). Was its download cut short? Fetch it "
                f"again, or give another folder."
            ) from None
        tensors = len(loaded.model.state_dict())
        if strange or len(absent) > tensors // 2:
            raise SetupError(
                f"The {role} in {folder} has the weights of another model: {len(strange)} of its {tensors} tensors "
                f"have other shapes and {len(absent)} are missing (e.g. {[*strange, *absent][0]}). Its config.yaml, "
                f"its tokens and its {_WEIGHTS} do not belong together; fetch it again."
            )
        if name == "vad" and hasattr(loaded.model, "encoder"):
            loaded.model.encoder.register_forward_hook(_never_sure)
        if name == "model" and hasattr(loaded.model, "predictor"):
            loaded.model.predictor.register_forward_pre_hook(_without_padding)
        if absent:
            self.notes.append(
                f"{len(absent)} of the {tensors} tensors of the {role} in {folder} are missing and random "
                f"(e.g. {absent[0]})"
            )
        frontend = loaded.kwargs.get("frontend")
        if frontend is not None and getattr(frontend, "cmvn_file", "") is None:
            self.notes.append(f"the {role} in {folder} has no am.mvn, which most of its kind need to hear well")
        probe: Any = ["hello there"] if name == "punc" else np.sin(np.arange(RATE, dtype=np.float32) / 20) / 5
        try:
            answers = loaded.generate(input=probe)
            fits = all(_ANSWERS[name] in answer for answer in answers)
        except Exception as error:
            raise SetupError(
                f"The model in {folder} does not work as the {role} on {options['device']} ({_reason(error)}). Is it "
                f"one, and is there memory enough?"
            ) from None
        if not fits:
            raise SetupError(f"The model in {folder} is no {role}; give the folder or the id of one.")
        return loaded

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
        try:
            results = self._asr.generate(input=list(batch), batch_size=len(batch), pred_timestamp=self._word_times)
        except (IndexError, ValueError):
            # FunASR's time marks fall out of step with some token sequences. Its words are worth having anyway, and
            # the times of the others in the batch.
            if not self._word_times:
                raise
            if len(batch) > 1:
                return [result for samples in batch for result in self._recognise([samples])]
            results = self._asr.generate(input=list(batch), batch_size=1, pred_timestamp=False)
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


def _require_torch() -> None:
    """Raises :class:`SetupError` if FunASR or what it needs is not there."""
    if importlib.util.find_spec("funasr") is None:
        raise SetupError(_NOT_INSTALLED)
    with _in_working_order():
        importlib.import_module("torch")


def _require_engine(folders: Iterable[Path]) -> None:
    """Raises :class:`SetupError` if FunASR is not in working order."""
    with _in_working_order():
        import_engine(folders)


@contextlib.contextmanager
def _in_working_order() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SetupError(
            f"FunASR can't be imported ({_reason(error)}). It needs PyTorch (`pip install torch`); a torchaudio or "
            f"torchcodec built for another PyTorch has to be uninstalled, neither is needed here."
        ) from None


def _device(wanted: str) -> str:
    """The device to use. Raises :class:`SetupError` if it is a GPU that is not there."""
    import torch

    gpus = torch.cuda.device_count()
    if wanted == "auto":
        return "cuda" if gpus else "cpu"
    if wanted != "cpu" and int(wanted.partition(":")[2] or 0) >= gpus:
        seen = "no GPU" if gpus == 0 else f"{gpus} GPU" + "s" * (gpus > 1)
        raise SetupError(f"The transcriber was told to use {wanted}, but PyTorch sees {seen}; use device=cpu or auto.")
    return wanted


def _misfits(weights: Path, model: torch.nn.Module) -> tuple[list[str], list[str]]:
    """Tensors of ``model`` that have another shape in the file, and those that are not in it."""
    import torch

    stored = torch.load(weights, map_location="meta", weights_only=True)
    for wrapping in ("state_dict", "model_state_dict", "model"):
        stored = stored.get(wrapping, stored)
    strange, absent = [], []
    for name, tensor in model.state_dict().items():
        found = stored.get(name, stored.get(f"module.{name}"))
        if found is None:
            absent.append(name)
        elif found.shape != tensor.shape:
            strange.append(name)
    return strange, absent


def _never_sure(module: torch.nn.Module, given: tuple[Any, ...], scores: Any) -> Any:
    """The probabilities of a voice activity model, none of them 0 or 1.

    FunASR takes their logarithms; on loud sound and on silence they round to that.
    """
    return scores.clamp(_SURE, 1 - _SURE) if hasattr(scores, "clamp") else scores


def _without_padding(module: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of Paraformer's predictor with its input set to zero after the end of each segment.

    It looks one frame ahead: at the last frame of a segment that would be whatever the encoder made of the padding, and
    the words would depend on what else is in the batch. A segment alone has zeros there.
    """
    hidden, target, mask, *rest = given
    return (hidden * mask.transpose(1, 2).to(hidden.dtype), target, mask, *rest)


def _reason(error: Exception) -> str:
    """What went wrong, in one sentence; libraries tend to explain at length."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].partition('. ')[0][:200]}" if lines else type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_LOADED: dict[ModelSettings, Recogniser] = {}


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """``settings`` and the raw float32 ``files`` to transcribe, none to load the models only."""
    settings = ModelSettings(**request["settings"])
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


def settings_request(settings: ModelSettings, files: Sequence[Path]) -> dict[str, Any]:
    """The request that :func:`handle` takes."""
    return {"settings": asdict(settings), "files": [str(path) for path in files]}


if __name__ == "__main__":
    serve(handle)
