"""What a figure was measured with: versions, card, driver, clocks."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from dataclasses import dataclass, fields

import torch

_FLASH = ("flash-attn", "flash-attn-3", "flash-attn-4")
_ASKED = {
    "driver": "driver_version",
    "sm_clock": "clocks.sm",
    "sm_clock_limit": "clocks.max.sm",
    "memory_clock": "clocks.mem",
    "power_limit": "power.limit",
    "power_drawn": "power.draw",
    "temperature": "temperature.gpu",
}
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Environment:
    """None is what is not there, or can't be told. Clocks, power and temperature are those of the moment when it was
    asked, with their units."""

    python: str
    torch: str
    cuda: str | None = None
    cudnn: str | None = None
    triton: str | None = None
    flash_attention: str | None = None
    """Every release of it that is installed."""
    driver: str | None = None
    sm_clock: str | None = None
    sm_clock_limit: str | None = None
    memory_clock: str | None = None
    power_limit: str | None = None
    power_drawn: str | None = None
    temperature: str | None = None

    def in_words(self) -> str:
        """What is known, in one line."""
        return ", ".join(
            f"{field.name.replace('_', ' ')} {getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) is not None
        )


def examine(device: torch.device) -> Environment:
    """The environment of what runs on a device."""
    on_cuda = device.type == "cuda"
    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda if on_cuda else None,
        cudnn=cudnn_version(torch.backends.cudnn.version()) if on_cuda else None,
        triton=_version("triton"),
        flash_attention=flash_attention(),
        **(card(_name_of(device)) if on_cuda else {}),
    )


def _name_of(device: torch.device) -> str:
    """As ``nvidia-smi`` knows it, which counts the cards that this process does not see, too."""
    index = torch.cuda.current_device() if device.index is None else device.index
    identity = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return str(index) if identity is None else f"GPU-{identity}"


def cudnn_version(number: int | None) -> str | None:
    """9.15.1 of 91501; before its version 9, 8.9.7 of 8907."""
    if number is None:
        return None
    major, minor = (10_000, 100) if number >= 90_000 else (1000, 100)
    return f"{number // major}.{number % major // minor}.{number % minor}"


def flash_attention() -> str | None:
    """Releases of FlashAttention that are installed."""
    found = [f"{name} {_version(name)}" for name in _FLASH if _version(name) is not None]
    if importlib.util.find_spec("flash_attn_interface") is not None and _version("flash-attn-3") is None:
        found.append("flash_attn_interface")  # built from source, under no name of its own
    return ", ".join(found) or None


def card(name: str) -> dict[str, str]:
    """What ``nvidia-smi`` says of a card; nothing where there is no such program or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, "-i", name, f"--query-gpu={','.join(_ASKED.values())}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return read_card(answer)


def read_card(answer: str) -> dict[str, str]:
    """``nvidia-smi``'s one row; what the card does not tell is left out."""
    values = next(csv.reader([answer.strip()], skipinitialspace=True), [])
    if len(values) != len(_ASKED):
        return {}
    return {name: value for name, value in zip(_ASKED, values, strict=True) if value and not value.startswith("[")}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
