"""Which GPUs this machine has, without a library that needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from interbench.base.errors import GpuError


@dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    name: str
    memory_gib: float | None
    """None: the driver does not say, as where it is shared with the CPU."""


def find_gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine that ``CUDA_VISIBLE_DEVICES`` leaves visible; empty if there are none.

    Raises:
        GpuError: the driver's tool is there but fails, or ``CUDA_VISIBLE_DEVICES`` names something that is no GPU here.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    gpus = []
    for line in _query(tool, "index,name,memory.total"):
        index, _, rest = line.partition(",")
        name, _, memory = rest.rpartition(",")
        told = memory.strip().replace(".", "", 1).isdigit()
        gpus.append(Gpu(int(index), name.strip(), float(memory) / 1024 if told else None))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return gpus if visible is None else _visible(tool, gpus, [entry.strip() for entry in visible.split(",")])


def _visible(tool: str, gpus: list[Gpu], entries: list[str]) -> list[Gpu]:
    """The GPUs that are named by index or by the beginning of their UUID, as CUDA reads the variable."""
    if entries[0] in ("", "-1"):
        return []
    names = {str(gpu.index): gpu for gpu in gpus}
    if not all(entry.isdigit() for entry in entries):
        for line in _query(tool, "index,uuid"):
            index, _, uuid = line.partition(",")
            names[uuid.strip()] = names[index.strip()]
    chosen: list[Gpu] = []
    for entry in entries:
        short = entry.startswith("GPU-")
        named = {gpu for name, gpu in names.items() if (name.startswith(entry) if short else name == entry)}
        if len(named) != 1:
            raise GpuError(
                f"CUDA_VISIBLE_DEVICES names {entry!r}, which is no whole GPU of this machine ({', '.join(names)}). "
                f"Set it to indices or to the UUIDs of GPUs."
            )
        chosen += named
    return chosen


def _query(tool: str, fields: str) -> list[str]:
    query = [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise GpuError(f"nvidia-smi is installed but does not answer ({error}); check the NVIDIA driver.") from None
    said = (answer.stdout.strip() or answer.stderr.strip()).splitlines()
    if any(line.startswith("No devices were found") for line in said):
        return []
    if answer.returncode != 0:
        why = said[0] if said else f"status {answer.returncode}"
        raise GpuError(f"nvidia-smi is installed but fails ({why}); check the NVIDIA driver.")
    return [line for line in answer.stdout.splitlines() if line.strip()]
