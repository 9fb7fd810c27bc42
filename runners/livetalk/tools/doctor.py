"""Looks at a machine and says what is missing before a model is loaded."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from livetalk.base import termination
from livetalk.base.errors import CheckpointError, LiveTalkError, OptionError

if TYPE_CHECKING:
    from livetalk.thinkers.base import Thinker

Level = Literal["ok", "note", "missing"]

GPU_MEMORY_GB = 20.0
"""What the released setting needs, in GB: weights 3.5, cache 2.8, decoder state 1.2, work space; and the text encoder's
11.4 for the moment in which a prompt is encoded."""
GOOD_CUDNN = 91_500
HOST_MEMORY_GB = 16.0
CHECKPOINT_GB = 18.0
THINKER_S = 30.0
"""How long the server behind a thinker may take to say which models it has."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` keeps the published model from running in real time; a ``note`` does not."""

    subject: str
    level: Level
    detail: str
    remedy: str | None = None
    """What mends it, where that is one command."""


def examine(checkpoints: Path, purpose: str = "1.3B") -> list[Finding]:
    """What ``livetalk`` depends on.

    Args:
        checkpoints: folder of the published weights.
        purpose: the size that is to run. Others than the published one need neither a GPU nor checkpoints, and these
            are not looked at.
    """
    published = purpose == "1.3B"
    findings = [_python(), *_packages()]
    if importlib.util.find_spec("torch") is not None:
        findings += _gpu() if published else ()
    findings += [_memory(), *_codecs(), *(_files(checkpoints) if published else ())]
    return findings


def in_words(findings: list[Finding]) -> str:
    """A line per finding, and beneath them each remedy once, with what it mends."""
    lines = [f"{finding.level:<8} {finding.subject:<17} {finding.detail}" for finding in findings]
    mended: dict[str, list[str]] = {}
    for finding in findings:
        if finding.remedy is not None:
            mended.setdefault(finding.remedy, []).append(finding.subject)
    lines += [f"to mend  {', '.join(subjects)}: {remedy}" for remedy, subjects in mended.items()]
    return "\n".join(lines)


def ready(findings: list[Finding]) -> bool:
    """Whether nothing is missing."""
    return all(finding.level != "missing" for finding in findings)


def thinker_there(kind: str, thinker: Thinker) -> Iterator[Finding]:
    """Whether the server behind a thinker answers as it should; nothing of one that runs in the server's own process,
    whose model only `livetalk serve` loads.

    Args:
        kind: the name by which it was found.
        thinker: not yet started.
    """
    from livetalk.thinkers import registry

    if "url" not in registry.find(kind).options().known:
        return

    async def start() -> str:
        try:
            async with asyncio.timeout(THINKER_S):
                await thinker.start()
            return thinker.name
        finally:
            await thinker.stop()

    try:
        name = termination.run(start())
    except TimeoutError:
        yield Finding("thinker", "missing", f"{kind} does not answer within {THINKER_S:.0f} s")
    except LiveTalkError as error:
        yield Finding("thinker", "missing", str(error))
    else:
        yield Finding("thinker", "ok", f"{name} answers")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok" if sys.version_info >= (3, 11) else "missing", f"{version} (3.11 or later is needed)")


def _packages() -> Iterator[Finding]:
    for name in (
        *("torch", "diffusers", "transformers", "safetensors", "ftfy", "soxr", "av", "huggingface_hub"),
        *("fastapi", "uvicorn", "python-multipart", "prometheus-client"),
    ):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", "not installed", 'pip install "interbench[livetalk]"')


def _gpu() -> Iterator[Finding]:
    import torch

    from livetalk.render.model.attention import agrees, available_kernels

    if not torch.cuda.is_available():
        reason = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        yield Finding("GPU", "missing", f"{reason}; size 1.3B needs one (`--for tiny` asks for none)")
        yield Finding(
            "attention", "note", f"on the CPU: {', '.join(available_kernels(torch.device('cpu'), torch.float32))}"
        )
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = (amount / 1e9 for amount in torch.cuda.mem_get_info(index))
        level: Level = "ok" if free >= GPU_MEMORY_GB else "missing"
        detail = f"{properties.name}, {free:.0f} of {total:.0f} GB free (about {GPU_MEMORY_GB:.0f} GB are needed)"
        yield Finding(f"GPU {index}", level, detail)
    device, dtype = torch.device("cuda"), torch.bfloat16
    yield from versions_that_matter(torch.__version__, torch.backends.cudnn.version())
    kernels = [name for name in available_kernels(device, dtype) if agrees(name, device, dtype, head_dim=128)]
    flash = any(kernel in kernels for kernel in ("fa2", "fa3"))
    advice = "" if flash else '; FlashAttention is not installed (optional: pip install "interbench[flash]")'
    yield Finding("attention", "ok", f"{', '.join(kernels)}, best first{advice}")


def versions_that_matter(torch_version: str, cudnn: int | None) -> Iterator[Finding]:
    """What of a GPU's libraries would make the decoder slow or wrong."""
    from livetalk.render.speed import require_usable
    from livetalk.tools.environment import cudnn_version

    try:
        require_usable(torch_version, "cuda")
    except OptionError as error:
        yield Finding("torch", "missing", str(error), 'pip install "torch>=2.10"')
    if cudnn is None:
        yield Finding("cuDNN", "missing", "torch was built without it, and the decoder is convolutions")
        return
    known_good = cudnn >= GOOD_CUDNN or cudnn < 90_800
    detail = "" if known_good else "; from 9.8 to 9.14 it convolved bfloat16 wrongly or slowly: 9.15 comes with 2.10"
    yield Finding("cuDNN", "ok" if known_good else "note", f"{cudnn_version(cudnn)}{detail}")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError):
        return Finding("memory", "note", "can't be read on this system")
    level: Level = "ok" if total >= HOST_MEMORY_GB else "note"
    return Finding("memory", level, f"{total:.0f} GB ({HOST_MEMORY_GB:.0f} GB are comfortable)")


def _codecs() -> Iterator[Finding]:
    if importlib.util.find_spec("av") is None:
        return
    import av

    for codec in ("libx264", "aac"):
        found = codec in av.codecs_available
        yield Finding(codec, "ok" if found else "missing", "encoder of PyAV" if found else "PyAV was built without it")


def _files(root: Path) -> Iterator[Finding]:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "diffusers", "transformers", "safetensors")):
        yield Finding("checkpoints", "missing", "can't be checked before the packages are installed")
        return
    from livetalk.render import checkpoint

    files = checkpoint.CheckpointFiles.under(root)
    checks: tuple[tuple[str, Path, Callable[[], Any]], ...] = (
        ("transformer", files.dit, lambda: checkpoint.check_dit(files.dit)),
        ("text encoder", files.text_encoder, lambda: checkpoint.check_text_encoder(files.text_encoder)),
        ("tokenizer", files.tokenizer, lambda: checkpoint.load_tokenizer(files.tokenizer)),
        ("VAE", files.vae, lambda: checkpoint.check_vae(files.vae)),
        ("speech encoder", files.speech, lambda: checkpoint.check_speech_encoder(files.speech)),
    )
    absent = False
    for subject, path, check in checks:
        if not path.exists():
            absent = True
            yield Finding(subject, "missing", f"{path} is not there", f"livetalk download --to {root}")
            continue
        try:
            check()
        except CheckpointError as error:
            yield Finding(subject, "missing", str(error))
        else:
            yield Finding(subject, "ok", f"{path}: names and shapes are right")
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    enough = not absent or free >= CHECKPOINT_GB
    need = f" (about {CHECKPOINT_GB:.0f} GB are needed for the checkpoints)" if absent else ""
    yield Finding("disk", "ok" if enough else "missing", f"{free:.0f} GB free at {existing}{need}")
