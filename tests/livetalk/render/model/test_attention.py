import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT, attention
from livetalk.render.model.attention import (
    agrees,
    attention_kernel,
    available_kernels,
    choose_kernel,
    disagreement,
    kernel_seconds,
    variants,
)
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
        for name in ("flash_attn_interface", "flash_attn", "flash_attn.cute"):
            module = ModuleType(name)
            vars(module)["flash_attn_func"] = flash_attn_func or (lambda q, k, v: q)
            monkeypatch.setitem(sys.modules, name, module if name in installed else None)
        attention._flash_attention.cache_clear()

    yield make
    attention._flash_attention.cache_clear()


@pytest.mark.parametrize(
    ("capability", "installed", "best"),
    [
        ((9, 0), {"flash_attn_interface", "flash_attn"}, "fa3"),
        ((9, 0), {"flash_attn"}, "cudnn"),
        ((9, 0), {"flash_attn.cute", "flash_attn"}, "cudnn"),
        ((10, 0), {"flash_attn.cute", "flash_attn"}, "cudnn"),
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
    assert [name for name in available if not name.startswith("torch-")][-1] == "math"
    assert ("fa4" in available) == ("flash_attn.cute" in installed)
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


@pytest.mark.parametrize(
    ("name", "module"), [("fa3", "flash_attn_interface"), ("fa4", "flash_attn.cute"), ("fa2", "flash_attn")]
)
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

    gpu((9, 0), "flash_attn", module, flash_attn_func=flash_attn_func)
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


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of [1, tokens, heads, channels]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()


def test_a_layer_with_flash_attention_can_be_copied(
    gpu: Callable[..., None], golden_config: DiTConfig, golden_state: dict[str, Tensor]
) -> None:
    """As measuring 8-bit layers does. The copy attends, and compiles, as the first one."""
    gpu((9, 0), "flash_attn_interface", flash_attn_func=attended)
    dit = CausalDiT.from_state(golden_config, golden_state)
    for layer in dit.layers:
        layer.attend = attention_kernel("fa3", GPU, torch.bfloat16)
    copied = copy.deepcopy(dit).layers[0].attend
    q, k, v = draws((12, 2, 32), (40, 2, 32), (40, 2, 32))
    expected = attention_kernel("math", CPU, torch.float32)(q, k, v)
    torch.testing.assert_close(copied(q, k, v), expected, atol=1e-6, rtol=1e-5)
    compiled = torch.compile(copied, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), expected, atol=1e-6, rtol=1e-5)


def sharing(asked: list[int]) -> Callable[..., Tensor]:
    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, num_splits: int = 1) -> Tensor:
        asked.append(num_splits)
        return attended(q, k, v)

    return flash_attn_func


def test_shares_of_the_keys_are_told_to_the_kernel(gpu: Callable[..., None]) -> None:
    asked: list[int] = []
    gpu((9, 0), "flash_attn_interface", flash_attn_func=sharing(asked))
    assert variants(["fa3", "cudnn"]) == ["fa3", "fa3:2", "fa3:3", "cudnn"]
    q, k, v = draws((12, 2, 32), (40, 2, 32), (40, 2, 32))
    for name in ("fa3", "fa3:3"):
        attention_kernel(name, GPU, torch.bfloat16)(q, k, v)
    assert asked == [1, 3]
    for name in ("fa3:7", "fa3:", "fa3:x", "cudnn:2"):
        with pytest.raises(ValueError, match="is unknown; here there are"):
            choose_kernel(name, GPU, torch.bfloat16)


def test_a_release_that_cannot_share_is_not_asked_to(gpu: Callable[..., None]) -> None:
    gpu((9, 0), "flash_attn", "flash_attn.cute", flash_attn_func=attended)
    assert variants(["fa4"]) == ["fa4"]


def test_the_fastest_of_those_that_agree_is_taken(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch, golden_dit: CausalDiT
) -> None:
    gpu((9, 0), "flash_attn_interface", flash_attn_func=sharing([]))
    seconds = {"fa3": 3.0, "fa3:2": 2.0, "fa3:3": 2.5, "cudnn": 1.0, "sdpa": 4.0, "flash": 5.0}
    monkeypatch.setattr(attention, "agrees", lambda name, *_: name != "cudnn")
    assert choose_kernel("auto", GPU, torch.bfloat16, seconds=seconds.__getitem__) == "fa3:2"
    assert choose_kernel("sdpa", GPU, torch.bfloat16, seconds=seconds.__getitem__) == "sdpa", "who asks for one gets it"
    monkeypatch.setattr(attention, "agrees", lambda *_: False)
    assert choose_kernel("auto", GPU, torch.bfloat16, seconds=seconds.__getitem__) == "math"


def unasked(name: str) -> float:
    raise AssertionError(f"{name} is timed, and another was asked for by name")


def test_a_model_times_its_kernels_on_its_own_sizes(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    dit = CausalDiT.from_state(golden_config, golden_state)
    assert dit.tune_attention(StreamConfig(4, 4)).attention == "sdpa"  # nothing else is offered on a CPU
    assert kernel_seconds("math", CPU, torch.float32, heads=2, head_dim=32, queries=12, keys=60) > 0
    dit.use_attention("math")
    assert dit.tune_attention(StreamConfig(4, 4), unasked).attention == "math"


@pytest.fixture
def torch_own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins for what torch calls FA3 and FA4, and a list of those that were activated."""
    registry = pytest.importorskip("torch.nn.attention._registry")
    monkeypatch.setattr(registry, "_FLASH_ATTENTION_IMPLS", {})
    monkeypatch.setattr(registry, "_FLASH_ATTENTION_ACTIVE", None)
    activated: list[str] = []

    class Handle:
        def remove(self) -> None:
            pass

    def registering(name: str) -> Callable[[], Handle]:
        return lambda: activated.append(name) or Handle()  # type: ignore[func-returns-value]

    for name in ("FA3", "FA4"):
        torch.nn.attention.register_flash_attention_impl(name, register_fn=registering(name))
    return activated


def test_torch_s_own_way_to_flash_attention_is_only_for_who_asks(
    gpu: Callable[..., None], torch_own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It turns a switch of the whole process."""
    monkeypatch.setattr(attention, "agrees", lambda *_: True)
    gpu((9, 0), "flash_attn_interface", "flash_attn", "flash_attn.cute")
    assert available_kernels(GPU, torch.bfloat16)[-2:] == ["torch-fa3", "torch-fa4"]
    timed: list[str] = []

    def seconds(name: str) -> float:
        timed.append(name)
        return 1.0

    choose_kernel("auto", GPU, torch.bfloat16, seconds=seconds)
    assert timed and torch_own == [] and not [name for name in timed if name.startswith("torch-")]
    for _ in range(2):
        attention_kernel("torch-fa4", GPU, torch.bfloat16)
    assert torch_own == ["FA4"] and torch.nn.attention.current_flash_attention_impl() == "FA4"
    gpu((9, 0))
    with pytest.raises(ValueError, match="'torch-fa3' can't run"):
        choose_kernel("torch-fa3", GPU, torch.bfloat16)
