"""What a processor can do, as oneDNN names it, and a program that computes in half precision at each such level."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

LEVELS = {
    "SSE41": {"sse4_1"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX2_VNNI": {"avx_vnni"},
    "AVX512_CORE": {"avx512bw", "avx512vl", "avx512dq"},
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16"},
    "AVX512_CORE_FP16": {"avx512_fp16"},
    "AVX512_CORE_AMX": {"amx_bf16", "amx_int8"},
    "AVX2_VNNI_2": {"avx_vnni_int8", "avx_ne_convert"},
    "AVX512_CORE_AMX_FP16": {"amx_fp16"},
}
"""Values of ONEDNN_MAX_CPU_ISA and the flags that Linux shows for what each adds."""


def offered() -> list[str]:
    """The levels that this machine can be held to: none where Linux does not say, or on another architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    return [level for level, needed in LEVELS.items() if needed <= flags]


def relative(half: Any, full: Any) -> float:
    return float((half.float() - full).norm() / full.norm())


def errors(golden: Path) -> dict[str, float]:
    """How far bfloat16 is from float32, of what is computed in it on a CPU, as a share of the whole."""
    import numpy as np
    import torch
    from livetalk.render.config import SpeechConfig
    from livetalk.render.encoders.speech import SpeechEncoder, current_name, empty_model
    from livetalk.tools.parity import Fixtures

    kinds = (torch.bfloat16, torch.float32)
    found = {}
    for channels, groups, kernel in ((48, 4, 16), (32, 4, 16), (64, 4, 16), (12, 1, 16), (40, 4, 32), (768, 16, 128)):
        torch.manual_seed(channels)
        overrides: dict[str, Any] = {"num_conv_pos_embedding_groups": groups, "num_conv_pos_embeddings": kernel}
        overrides |= {"num_attention_heads": 4, "intermediate_size": 8, "conv_dim": [16] * 7}
        config = SpeechConfig(hidden_size=channels, num_hidden_layers=1, overrides=overrides)
        shapes = {name: tensor.shape for name, tensor in empty_model(config).state_dict().items()}
        state = {name: torch.randn(shape).bfloat16() / max(1, shape[-1]) ** 0.5 for name, shape in shapes.items()}
        frames = torch.randn(1, 16, 33).bfloat16()
        half, full = (
            SpeechEncoder.from_state(config, state, dtype=kind).hidden_states(frames.to(kind)) for kind in kinds
        )
        found[f"speech, {channels} channels in {groups} groups under {kernel}"] = relative(half, full)
    fixtures = Fixtures(golden)
    speech, tensors = fixtures.weights("wav2vec2")
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    coarse, exact = (
        SpeechEncoder.from_state(SpeechConfig.from_manifest(speech), tensors.renamed(current_name), dtype=kind)
        for kind in kinds
    )
    found["speech of the fixtures"] = relative(coarse.whole_clip(samples, 9), exact.whole_clip(samples, 9))
    return found


def main(golden: Path, levels: list[str]) -> None:
    """Print the errors at each level, a line of JSON for each.

    oneDNN reads the level when it is first used, so each has a process of its own, all from this one, which has loaded
    the libraries and used none.
    """
    import livetalk.tools.parity  # noqa: F401 - for the processes below
    import torch

    torch.set_num_threads(1)
    for level in levels:
        child = os.fork()
        if not child:
            os.environ["ONEDNN_MAX_CPU_ISA"] = level
            print(json.dumps({"level": level, "errors": errors(golden)}), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"{level}: the process ended with {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
