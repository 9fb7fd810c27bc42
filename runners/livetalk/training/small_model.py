"""``livetalk train assemble``: the networks of a small model as one folder that the runner loads.

::

    MODEL/autoencoder.safetensors   under the Wan file's names
    MODEL/speech/                   config.json, model.safetensors: wav2vec2 as transformers keeps it
    MODEL/text_encoder.safetensors  under UMT5's original names
    MODEL/tokenizer/
    MODEL/model.safetensors         the transformer, under LiveTalk's names
    MODEL/card.json                 what each file is, how it was made, its SHA-256

A folder may be made of the stages that there are; the runner asks for all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.render.checkpoint import CheckpointFiles, check
from livetalk.render.config import Size
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.model import reference_shapes
from livetalk.render.model.weights import to_published
from livetalk.training.autoencoder_network import published
from livetalk.training.checkpoints import RunError, newest, read_progress
from livetalk.training.clip_latents import EncodedClips, speech_state
from livetalk.training.loop import CONFIG
from livetalk.training.own_stage import average_of
from livetalk.training.records import write_whole
from livetalk.training.vocabulary import write_tokenizer
from livetalk.training.weights import open_weights

CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Written:
    """A file of the folder."""

    path: Path
    bytes: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from, for those who are given it."""

    code: str
    """Name and version of the program."""
    script: Path | None = None
    """What made the clips."""
    stages: str = ""
    """How the transformer was trained, where more runs than its last one were."""
    licence: str = ""

    def told(self) -> dict[str, str]:
        """
        Raises:
            OptionError: the script can't be read.
        """
        found = {"code": self.code, **({"license": self.licence} if self.licence else {})}
        if self.script is not None:
            try:
                found["data_script"] = self.script.name
                found["data_script_sha256"] = hashlib.sha256(self.script.read_bytes()).hexdigest()
            except OSError as error:
                raise OptionError(f"{self.script} can't be read: {error.strerror or error}.") from error
        return found


def assemble(
    folder: Path,
    size: Size,
    *,
    autoencoder: str | None = None,
    speech: str | None = None,
    teacher: str | None = None,
    student: str | None = None,
    data: Path | None = None,
    dtype: torch.dtype = torch.float16,
    origin: Origin | None = None,
    note: str | None = None,
) -> list[Written]:
    """Write what is given; other files of the folder stay as they are, but for their origin.

    Args:
        autoencoder, speech, teacher: runs of these stages, or checkpoints in them. A teacher brings the text encoder,
            and, where no student is given, the transformer.
        student: a run of the ODE stage or of distribution matching, or a transformer's file.
        data: the encoded clips that the teacher was trained on, whose captions make the tokenizer.
        origin: written into every file of the folder.
        note: a line for the card.

    Raises:
        LiveTalkError: a run holds something else, or values that are not numbers.
    """
    files = CheckpointFiles.flat(folder)
    everywhere = {} if origin is None else origin.told()
    parts: dict[Path, tuple[dict[str, Tensor], str]] = {}
    if autoencoder is not None:
        parts[files.vae] = published(size.vae, average_of(autoencoder)), autoencoder
    if speech is not None:
        parts[files.speech / "model.safetensors"] = speech_state(speech), speech
    if teacher is not None:
        if data is None:
            raise OptionError("A teacher's vocabulary is that of its clips; name them with --data.")
        parts |= _of_teacher(files, size, teacher)
    if student is not None:
        weights = open_weights(student, size.dit, folder)
        parts[files.dit] = dict(weights), student
    if not parts:
        raise OptionError("Nothing to write: name a run.")
    for state, source in parts.values():
        if broken := [name for name, value in state.items() if not bool(torch.isfinite(value.to(dtype)).all())]:
            raise RunError(f"{len(broken)} tensors of {source} are no numbers in {dtype}, such as {broken[0]}.")
    folder.mkdir(parents=True, exist_ok=True)
    if speech is not None:
        files.speech.mkdir(exist_ok=True)
        config = speech_module.empty_model(size.speech).config.to_dict()
        _write_json(files.speech / "config.json", {k: v for k, v in config.items() if k != "dtype"})
    if teacher is not None and data is not None:
        write_tokenizer(EncodedClips(data).captions, size.text.vocab_size, files.tokenizer)
    card = _card(folder)
    card.update({"size": size.name, **({"note": note} if note else {})})
    written = []
    for path, (state, source) in parts.items():
        tensors = {name: value.detach().to(dtype).contiguous().clone() for name, value in state.items()}
        about = {"size": size.name, **_made(source), **everywhere}
        if path == files.dit and origin is not None and origin.stages:
            about["stages"] = origin.stages
        card["files"][str(path.relative_to(folder))] = _write(path, tensors, about)
        written.append(Written(path, path.stat().st_size, sum(value.numel() for value in tensors.values())))
    for name in [name for name in card["files"] if everywhere and folder / name not in parts]:
        about = {key: value for key, value in card["files"][name].items() if key != "sha256"} | everywhere
        card["files"][name] = _write(folder / name, load_file(folder / name), about)
    _write_json(folder / CARD, card)
    return written


def _write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> dict[str, Any]:
    """Write a file with what is to be known of it in its header; the same with its digest."""
    write_whole(path, lambda partial: save_file(tensors, partial, _texts(about)))
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **about}


def _of_teacher(files: CheckpointFiles, size: Size, run: str) -> dict[Path, tuple[dict[str, Tensor], str]]:
    state = average_of(run)
    dit, text = (
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in ("dit.", "text.")
    )
    whole = to_published(size.dit, dit)
    check(
        Path(run), {name: tuple(value.shape) for name, value in whole.items()}, reference_shapes(size.dit), "a teacher"
    )
    names = text_module.original_names(size.text)
    return {
        files.dit: (whole, run),
        files.text_encoder: ({original: text[name] for original, name in names.items()}, run),
    }


def _made(source: str) -> dict[str, Any]:
    """How a run was made, as far as its folder says."""
    path = Path(source)
    if path.is_file():
        return {"source": path.name}
    place = newest(path)
    config = place.parent.parent / CONFIG
    told = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    kept = ("stage", "seed", "phase", "batch", "clips", "clips_sha256", "samples", "samples_sha256")
    found = {name: told[name] for name in kept if name in told and not isinstance(told[name], list)}
    return {**found, "step": read_progress(place)["step"]}


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        return {**card, "files": dict(card["files"])}
    except FileNotFoundError:
        return {"files": {}}
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{folder / CARD} is damaged ({error}). Remove it, or choose another folder.") from error


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(dict(value), indent=1) + "\n", "utf-8"))
