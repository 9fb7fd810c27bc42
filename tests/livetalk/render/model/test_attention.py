import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from livetalk.render.model import attention
from livetalk.render.model.attention import agrees, attention_kernel, available_kernels, choose_kernel, disagreement
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def draws(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_kernels_agree() -> None:
    q, k, v = draws((12, 2, 32), (40, 2, 32), (40, 2, 32))
    differences = {name: disagreement(name, q, k, v) for name in available_kernels(CPU, torch.float32)}
    assert set(differences) == {"sdpa", "math"}
    assert max(differences.values()) < 1e-6


def test_keys_may_have_any_strides() -> None:
    q, k, v = draws((12, 2, 32), (2, 40, 32), (2, 40, 32))
    kernel = attention_kernel("auto", CPU, torch.float32)
    strided = kernel(q, k.transpose(0, 1), v.transpose(0, 1))
    packed = kernel(q, k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous())
    torch.testing.assert_close(strided, packed, atol=1e-6, rtol=0)


def test_the_mathematics_are_those_of_attention() -> None:
    q, k, v = draws((5, 3, 8), (7, 3, 8), (7, 3, 8))
    weights = torch.softmax(torch.einsum("mhd,shd->hms", q, k) / 8**0.5, dim=-1)
    expected = torch.einsum("hms,shd->mhd", weights, v)
    for name in available_kernels(CPU, torch.float32):
        torch.testing.assert_close(attention_kernel(name, CPU, torch.float32)(q, k, v), expected, atol=1e-6, rtol=1e-5)


def test_the_choice_falls_on_what_is_there() -> None:
    assert choose_kernel("auto", CPU, torch.float32) == "sdpa"
    assert choose_kernel("math", CPU, torch.float32) == "math"


@pytest.mark.parametrize(("name", "message"), [("fa3", r"can't run on cpu.*interbench\[flash\]"), ("sage", "unknown")])
def test_what_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_kernel(name, CPU, torch.float32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend that there is a GPU of this generation, and FlashAttention under these names."""

    def make(capability: tuple[int, int], *installed: str, flash_attn_func: Callable[..., Any] | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        for name in ("flash_attn_interface", "flash_attn"):
            module = ModuleType(name)
            vars(module)["flash_attn_func"] = flash_attn_func
            monkeypatch.setitem(sys.modules, name, module if name in installed else None)
        attention._flash_attention.cache_clear()

    yield make
    attention._flash_attention.cache_clear()


@pytest.mark.parametrize(
    ("capability", "installed", "best"),
    [
        ((9, 0), {"flash_attn_interface", "flash_attn"}, "fa3"),
        ((9, 0), {"flash_attn"}, "cudnn"),
        ((10, 0), {"flash_attn_interface"}, "cudnn"),
        ((8, 0), {"flash_attn"}, "fa2"),
        ((8, 0), set(), "sdpa"),
        ((7, 5), {"flash_attn"}, "sdpa"),
    ],
)
def test_the_order_on_a_gpu(
    gpu: Callable[..., None], capability: tuple[int, int], installed: set[str], best: str
) -> None:
    gpu(capability, *installed)
    available = available_kernels(GPU, torch.bfloat16)
    assert available[0] == best
    assert available[-1] == "math"
    assert len(set(available)) == len(available)
    assert available_kernels(GPU, torch.float32) == ["sdpa", "math"]


def test_older_gpus_are_not_offered_what_they_cannot_run(gpu: Callable[..., None]) -> None:
    gpu((7, 5), "flash_attn")
    assert available_kernels(GPU, torch.float16) == ["sdpa", "math"]


def test_flash_attention_of_another_torch_is_as_good_as_absent(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu((8, 0))
    (tmp_path / "flash_attn.py").write_text("raise ImportError('flash_attn_2_cuda.so: undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn")
    assert "fa2" not in available_kernels(GPU, torch.bfloat16)
    with pytest.raises(ValueError, match="'fa2' can't run"):
        choose_kernel("fa2", GPU, torch.bfloat16)


@pytest.mark.parametrize(("name", "module"), [("fa3", "flash_attn_interface"), ("fa2", "flash_attn")])
@pytest.mark.parametrize("with_scores", [False, True])
def test_flash_attention_is_called_as_it_wants_and_compiles_unseen(
    gpu: Callable[..., None], name: str, module: str, with_scores: bool
) -> None:
    """Batch, tokens, heads, channels; and code that no compiler could follow."""

    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        assert q.shape == (1, 12, 2, 32) and k.shape == v.shape == (1, 40, 2, 32) and k.stride(-1) == 1
        assert float(q.abs().max()) > 0
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        out = out.transpose(1, 2).contiguous()
        return (out, out.new_zeros(1, 2, 12)) if with_scores else out

    gpu((9, 0), module, flash_attn_func=flash_attn_func)
    q, k, v = draws((12, 2, 32), (2, 60, 32), (2, 60, 32))
    k, v = (x[:, :40].transpose(0, 1) for x in (k, v))
    expected = attention_kernel("math", CPU, torch.float32)(q, k, v)
    kernel = attention_kernel(name, GPU, torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(kernel(q, k, v), expected, atol=1e-6, rtol=1e-5)
        compiled = torch.compile(lambda *x: kernel(*x) + 1, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(q, k, v), expected + 1, atol=1e-6, rtol=1e-5)


def test_a_named_kernel_heeds_no_switch_of_the_process() -> None:
    """Another thread may attend at the same time, and must find torch as it was."""
    q, k, v = draws((12, 2, 32), (40, 2, 32), (40, 2, 32))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert disagreement("math", q, k, v) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_that_agrees_is_taken(dtype: torch.dtype) -> None:
    assert agrees("sdpa", CPU, dtype, 128)
    assert agrees("math", CPU, dtype, 32)


@pytest.mark.parametrize("fault", ["wrong", "not a number", "does not run"])
def test_a_kernel_that_does_not_agree_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if fault == "does not run":
            raise RuntimeError("no kernel image is available for execution on the device")
        return torch.zeros_like(q) if fault == "wrong" else torch.full_like(q, torch.nan)

    monkeypatch.setattr(attention, "attention_kernel", lambda name, device, dtype: kernel)
    assert not agrees("cudnn", CPU, torch.bfloat16, 128)
    assert "cudnn" in caplog.text and "passed over" in caplog.text


def test_auto_takes_the_next_kernel_on_a_gpu(gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu((9, 0), "flash_attn_interface")
    monkeypatch.setattr(attention, "agrees", lambda name, *_: name not in ("fa3", "cudnn"))
    assert choose_kernel("auto", GPU, torch.bfloat16) == "sdpa"
    monkeypatch.setattr(attention, "agrees", lambda *_: False)
    assert choose_kernel("auto", GPU, torch.bfloat16) == "math"
