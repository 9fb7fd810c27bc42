"""Which GPUs this machine has, without a library that needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from interbench.errors import GpuError


@dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    name: str
    memory_gib: float


def find_gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine that ``CUDA_VISIBLE_DEVICES`` leaves visible; empty if there are none.

    Raises:
        GpuError: the driver's tool is there but fails.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise GpuError(f"nvidia-smi is installed but does not answer ({error}); check the NVIDIA driver.") from None
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    gpus = []
    for line in answer.stdout.splitlines():
        index, name, memory = (part.strip() for part in line.split(","))
        if not visible or index in visible or any(not entry.isdigit() for entry in visible):
            gpus.append(Gpu(int(index), name, float(memory) / 1024))
    return gpus
