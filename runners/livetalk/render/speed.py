"""What makes the same models faster: compiler, kernels chosen by timing, 8-bit layers; in one place for all verbs."""

from __future__ import annotations

import re
from typing import Any

from livetalk.base.errors import OptionError
from livetalk.render.config import StreamConfig
from livetalk.render.model.float8 import use_float8
from livetalk.render.options import CompileMode
from livetalk.render.pipeline import Models


def compile_options(mode: CompileMode) -> tuple[dict[str, Any], dict[str, Any]]:
    """``torch.compile``'s options for the transformer's layers and for the decoder."""
    if mode == "default":
        return {}, {}
    # Triton's templates are not tried for convolutions: there are many shapes, and on Hopper torch's own measurements
    # show no gain.
    conv = {"max_autotune": True, "coordinate_descent_tuning": True, "max_autotune_conv_backends": "ATEN"}
    return {"mode": "max-autotune-no-cudagraphs"}, {"options": conv}


def make_fast(
    models: Models,
    stream: StreamConfig,
    *,
    compiled: bool | None = None,
    mode: CompileMode = "default",
    float8: bool = False,
    tune: bool | None = None,
) -> bool:
    """Prepare models, in place, for a stream; compiling itself happens at the first block of every length.

    Args:
        stream: with a finite window.
        compiled: by default on CUDA only.
        mode: of the compiler.
        float8: 8-bit linear layers, not the release's numbers.
        tune: choose attention by timing; by default on CUDA only.

    Returns:
        Whether the models are compiled.

    Raises:
        ValueError: the device has no 8-bit products.
    """
    dit = models.dit
    on_cuda = dit.device.type == "cuda"
    if float8:
        use_float8(dit)
    if on_cuda if tune is None else tune:
        dit.tune_attention(stream)
    if on_cuda:
        dit.fuse_gelu()
    compiled = on_cuda if compiled is None else compiled
    if compiled:
        for_layers, for_decoder = compile_options(mode)
        dit.compile_layers(**for_layers)
        models.vae.compile(**for_decoder)
    return compiled


def require_usable(torch_version: str, device: str) -> None:
    """
    Raises:
        OptionError: with this torch the decoder is many times slower on a GPU.
    """
    if device.startswith("cuda") and re.match(r"2\.9(\.|\b)", torch_version):
        raise OptionError(
            f"torch {torch_version} computes the decoder's bfloat16 convolutions 10 to 20 times more slowly on a GPU "
            "(its cuDNN gave wrong results, and it goes round it). Install torch 2.10 or later, or 2.8."
        )
