"""The transcriber of the protocol: FunASR's English Paraformer, with voice activity and punctuation models."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.funasr_worker import ModelSettings, SetupError, locate, settings_request
from interbench.asr.sound import RATE, nothing_to_hear
from interbench.base.errors import TranscriberError, UsageError
from interbench.base.scratch import Scratch
from interbench.base.workers import WorkerError, WorkerPool, python_worker
from interbench.domain.records import Transcript, Word

MODEL = "iic/speech_paraformer_asr-en-16k-vocab4199-pytorch"
"""The published transcriber. FunASR's alias ``paraformer-en`` is another model."""
VAD_MODEL = "iic/speech_fsmn_vad_zh-cn-16k-common-pytorch"
PUNC_MODEL = "iic/punc_ct-transformer_cn-en-common-vocab471067-large"
_LOAD_S = 600.0
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class FunASR(Transcriber):
    """FunASR's English Paraformer with voice activity and punctuation models (extra: asr).

    It runs in a process of its own, so that neither the driver nor its clock waits for it.

    Args:
        model, vad_model, punc_model: local folders, or ids in ModelScope's or Hugging Face's cache. Nothing is
            downloaded.
        revision, vad_revision, punc_revision: exactly these of the hub's files. None: the pinned one
            (:data:`interbench.asr.funasr_worker.REVISION`), or with a note the untagged one that FunASR itself fetches.
            What was really used is in the identity, as the SHA-256 of the weights.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:<n>``.
        longest_segment_s: speech without a pause is cut after this time.
        batch_size: utterances per batch.

    Raises:
        UsageError: an option has a value that means nothing.
    """

    label = "funasr"
    needs_audio = True

    def __init__(
        self,
        model: str = MODEL,
        *,
        revision: str | None = None,
        vad_model: str = VAD_MODEL,
        vad_revision: str | None = None,
        punc_model: str = PUNC_MODEL,
        punc_revision: str | None = None,
        device: str = "auto",
        longest_segment_s: float = 30.0,
        batch_size: int = 16,
    ) -> None:
        named = {"model": model, "vad_model": vad_model, "punc_model": punc_model}
        for option, value in named.items():
            if not (isinstance(value, str) and value.strip()):
                raise UsageError(f"The transcriber's {option} is {value!r}; give a folder, or an id like {MODEL}.")
        if not (isinstance(device, str) and _DEVICE.fullmatch(device)):
            raise UsageError(f"The transcriber's device is {device!r}; give auto, cpu, cuda or cuda:<n>.")
        if not (isinstance(longest_segment_s, (int, float)) and 1 <= longest_segment_s <= 600):
            raise UsageError(f"The transcriber's longest_segment_s is {longest_segment_s!r}; give 1 to 600 seconds.")
        if not (isinstance(batch_size, int) and batch_size >= 1):
            raise UsageError(f"The transcriber's batch_size is {batch_size!r}; give a whole number from 1 on.")
        self.batch_size = batch_size
        self._settings = ModelSettings(
            _absolute(model),
            revision,
            _absolute(vad_model),
            vad_revision,
            _absolute(punc_model),
            punc_revision,
            device,
            longest_segment_s,
        )
        self._weights: Mapping[str, str] = {}
        self._notes: Sequence[str] = ()
        self._scratch: Scratch | None = None
        self._pool: WorkerPool | None = None

    def identity(self) -> Mapping[str, Any]:
        """See :meth:`Transcriber.identity`; the weights are known only after :meth:`start`."""
        if not self._weights:
            raise TranscriberError("The transcriber must be started before it can say which weights it uses.")
        return {
            "transcriber": "funasr",
            "version": 2,
            "model": Path(self._settings.model).name,
            "weights": dict(self._weights),
            "longest_segment_s": self._settings.longest_segment_s,
        }

    def notes(self) -> Sequence[str]:
        return self._notes

    async def check(self) -> None:
        """See that the three models are there."""
        chosen = self._settings
        for model, revision in (
            (chosen.model, chosen.revision),
            (chosen.vad_model, chosen.vad_revision),
            (chosen.punc_model, chosen.punc_revision),
        ):
            try:
                await asyncio.to_thread(locate, model, revision)
            except SetupError as error:
                raise TranscriberError(str(error)) from None

    async def start(self) -> None:
        self._scratch = Scratch("asr")
        # FunASR takes a text that happens to be the name of a file for the file: its process gets an empty folder.
        empty = self._scratch.path / "cwd"
        empty.mkdir()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_import_paths())}
        self._pool = WorkerPool(python_worker("interbench.asr.funasr_worker"), env=environment, cwd=empty)
        try:
            answer = await self._pool.call(settings_request(self._settings, ()), _LOAD_S)
        except WorkerError as error:
            await self.stop()
            if error.code == "setup":
                raise TranscriberError(str(error)) from None
            raise TranscriberError(f"FunASR can't load its models ({error}).") from None
        except BaseException:
            await self.stop()
            raise
        self._weights, self._notes = answer["weights"], answer["notes"]

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        if self._scratch is None:
            raise TranscriberError("The transcriber must be started before it can transcribe.")
        transcripts: dict[int, Transcript] = {}
        heard: list[int] = []
        for index, utterance in enumerate(batch):
            if (silence := nothing_to_hear(utterance)) is not None:
                transcripts[index] = silence
            else:
                heard.append(index)
        if heard:
            try:
                results = await self._recognise([batch[index] for index in heard])
            except WorkerError as trouble:
                # One utterance must not take the others with it.
                results = [await self._alone(batch[index], trouble, alone=len(heard) == 1) for index in heard]
            transcripts |= dict(zip(heard, results, strict=True))
        return [transcripts[index] for index in range(len(batch))]

    async def _alone(self, utterance: Utterance, trouble: WorkerError, *, alone: bool) -> Transcript:
        if not alone:
            try:
                return (await self._recognise([utterance]))[0]
            except WorkerError as error:
                trouble = error
        return Transcript("", flags=("failed",), error=f"FunASR failed on {utterance.key}: {trouble}")

    async def _recognise(self, batch: Sequence[Utterance]) -> list[Transcript]:
        assert self._pool is not None and self._scratch is not None
        folder = Path(tempfile.mkdtemp(dir=self._scratch.path))
        seconds = sum(len(utterance.samples) / RATE for utterance in batch if utterance.samples is not None)
        try:
            files = await asyncio.to_thread(_write, folder, batch)
            answer = await self._pool.call(settings_request(self._settings, files), _LOAD_S + 10 * seconds)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return [
            Transcript(found["text"], tuple(Word(*word) for word in found["words"]), tuple(found["flags"]))
            for found in answer["transcripts"]
        ]

    async def stop(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.remove)
            self._scratch = None


def _write(folder: Path, batch: Sequence[Utterance]) -> list[Path]:
    files = []
    for number, utterance in enumerate(batch):
        assert utterance.samples is not None
        files.append(folder / f"{number}.f32")
        np.ascontiguousarray(utterance.samples, np.float32).tofile(files[-1])
    return files


def _absolute(model: str) -> str:
    """A folder as seen from anywhere; an id of the hub as it is."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def _import_paths() -> list[str]:
    """Where the worker finds this package although it starts in another folder."""
    package = str(Path(__file__).resolve().parents[2])
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return [package, *(str(Path(entry).resolve()) for entry in inherited)]
