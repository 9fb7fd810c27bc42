"""A Qwen3-Omni checkpoint from the disk, ready to answer; or what is wrong with it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, Qwen3OmniMoeForConditionalGeneration, WhisperFeatureExtractor

from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.omni_model import OmniModel
from livetalk.thinkers.omni_prompt import PromptWriter

PUBLISHED = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
OLDEST_TRANSFORMERS = (5, 17)

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Omni:
    """What answers are made with."""

    model: OmniModel
    writer: PromptWriter
    tokenizer: Any
    stream: torch.cuda.Stream | None
    """Where on CUDA."""

    def computing(self) -> AbstractContextManager[None]:
        """Within this, what a thread computes goes to the model's device and stream."""
        return _on(self.stream)


@contextmanager
def _on(stream: torch.cuda.Stream | None) -> Generator[None]:
    if stream is None:
        yield
        return
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield


def load(source: str, *, device: str, dtype: str, prompt_tokens: int) -> Omni:
    """Load a checkpoint; nothing is downloaded.

    Args:
        source: its folder, or its name on the Hugging Face hub if it is in the cache.
        device: "auto" or a torch device.
        dtype: "auto", "bfloat16", "float16" or "float32".
        prompt_tokens: the most a prompt may have.

    Raises:
        ThinkerError: ``failed``; the message says what is missing and what to do.
    """
    if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < OLDEST_TRANSFORMERS:
        raise _failed(
            f"Qwen3-Omni needs transformers {'.'.join(map(str, OLDEST_TRANSFORMERS))} or newer and this is "
            f"{transformers.__version__}; run: pip install -U transformers"
        )
    target = _device(device)
    if dtype not in ("auto", *_DTYPES):
        raise _failed(f"There is no dtype {dtype!r} for Qwen3-Omni; take auto, {', '.join(_DTYPES)}.")
    automatic = torch.float32 if target.type == "cpu" else torch.bfloat16
    config = _config(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        extractor = WhisperFeatureExtractor.from_pretrained(source, local_files_only=True)
        kind: Any = Qwen3OmniMoeForConditionalGeneration
        model, report = kind.from_pretrained(
            source,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=_DTYPES.get(dtype, automatic),
            device_map=None if target.type == "cpu" else {"": target},
            output_loading_info=True,
        )
    except torch.OutOfMemoryError as error:
        raise _failed(
            f"{source} does not fit into the memory of {target}: the published model takes about 74 GB in bfloat16. "
            "Give it a card of its own, or serve it with vLLM-Omni over several."
        ) from error
    except Exception as error:  # each library has its own way to stumble over a damaged file
        raise _damaged(source, _named(error)) from error
    lacking = sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])})
    if lacking:
        raise _damaged(source, f"{len(lacking)} tensors are missing or of another shape, the first {lacking[0]}")
    opening = tokenizer("assistant\n", add_special_tokens=False).input_ids
    if len(opening) != 2 or opening[0] != config.assistant_token_id:
        raise _damaged(source, "its tokenizer is not the one that its configuration was written for")
    writer = PromptWriter(tokenizer, extractor, config, prompt_tokens)
    stream: torch.cuda.Stream | None = None
    if target.type == "cuda":
        # Its kernels are many and small; behind a renderer's large ones each would wait its turn.
        stream = torch.cuda.Stream(target, priority=-1)
        torch.cuda.synchronize(target)
    with _on(stream):
        return Omni(OmniModel(model.eval()), writer, tokenizer, stream)


def _config(source: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    except Exception as error:
        if (Path(source) / "config.json").is_file():
            raise _damaged(source, _named(error)) from error
        raise _failed(
            f"{source} is neither a folder with a Qwen3-Omni checkpoint nor the name of one that was downloaded. Fetch "
            f"the published one with: hf download {PUBLISHED} (70.5 GB), and give that name, or the folder it is in."
        ) from error
    if config.model_type != "qwen3_omni_moe":
        raise _failed(f"{source} is a {config.model_type} checkpoint and not Qwen3-Omni; take {PUBLISHED}.")
    if not config.enable_audio_output:
        raise _failed(f"{source} is a Qwen3-Omni that can't speak; take {PUBLISHED}, which can.")
    return config


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _failed(f"There is no device {name!r}; take auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise _failed(f"Qwen3-Omni is to run on {name}, and there is no such GPU here; take auto or cpu.")
        return torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
    return device


def _named(error: Exception) -> str:
    """Some libraries' messages are pages long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _damaged(source: str, what: str) -> ThinkerError:
    return _failed(f"The Qwen3-Omni checkpoint {source} is damaged or incomplete ({what}); download it again.")


def _failed(message: str) -> ThinkerError:
    return ThinkerError("failed", message)
