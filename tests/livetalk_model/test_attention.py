import pytest
import torch
from livetalk.model.attention import attention_kernel, available_kernels, choose_kernel, disagreement

CPU = torch.device("cpu")


def draws(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_kernels_agree():
    q, k, v = draws((12, 2, 32), (40, 2, 32), (40, 2, 32))
    differences = disagreement(q, k, v)
    assert set(differences) == {"sdpa", "math"}
    assert max(differences.values()) < 1e-6


def test_keys_may_have_any_strides():
    q, k, v = draws((12, 2, 32), (2, 40, 32), (2, 40, 32))
    kernel = attention_kernel("auto", CPU, torch.float32)
    strided = kernel(q, k.transpose(0, 1), v.transpose(0, 1))
    packed = kernel(q, k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous())
    torch.testing.assert_close(strided, packed, atol=1e-6, rtol=0)


def test_the_mathematics_are_those_of_attention():
    q, k, v = draws((5, 3, 8), (7, 3, 8), (7, 3, 8))
    weights = torch.softmax(torch.einsum("mhd,shd->hms", q, k) / 8**0.5, dim=-1)
    expected = torch.einsum("hms,shd->mhd", weights, v)
    for name in available_kernels(CPU, torch.float32):
        torch.testing.assert_close(attention_kernel(name, CPU, torch.float32)(q, k, v), expected, atol=1e-6, rtol=1e-5)


def test_the_choice_falls_on_what_is_there():
    assert choose_kernel("auto", CPU, torch.float32) == "sdpa"
    assert choose_kernel("math", CPU, torch.float32) == "math"


@pytest.mark.parametrize(("name", "message"), [("fa3", r"cannot run on cpu.*interbench\[flash\]"), ("sage", "unknown")])
def test_what_is_not_there_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        choose_kernel(name, CPU, torch.float32)


@pytest.mark.parametrize(
    ("capability", "installed", "best"),
    [
        ((9, 0), {"flash_attn_interface", "flash_attn"}, "fa3"),
        ((9, 0), {"flash_attn"}, "sdpa"),
        ((10, 0), {"flash_attn_interface"}, "sdpa"),
        ((8, 0), {"flash_attn"}, "fa2"),
        ((8, 0), set(), "sdpa"),
        ((7, 5), {"flash_attn"}, "sdpa"),
    ],
)
def test_the_order_on_a_gpu(monkeypatch, capability, installed, best):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name in installed else None)
    available = available_kernels(torch.device("cuda"), torch.bfloat16)
    assert available[0] == best
    assert available[-1] == "math"
    assert len(set(available)) == len(available)
    assert available_kernels(torch.device("cuda"), torch.float32) == ["sdpa", "math"]
