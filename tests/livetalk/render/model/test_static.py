"""The hot loop: no tensor is read by the host, and every block does the same work in the same memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from livetalk.render import vae as vae_module
from livetalk.render.config import (
    FRAMES_PER_BLOCK,
    ROPE_FRAMES,
    SIZES,
    TRAINED_FRAMES,
    DiTConfig,
    StreamConfig,
    VAEConfig,
)
from livetalk.render.model import CausalDiT, random_tensors
from livetalk.render.model.attention import attention_kernel
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.cache import LayerCache
from livetalk.render.model.dit import CACHE_LENGTHS
from livetalk.render.model.float8 import quantize_layers
from livetalk.render.model.layers import gelu_linear, gelu_linear_agrees
from livetalk.render.vae import WanVAE
from livetalk.tools.cost import dit_forward
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Record(TorchDispatchMode):
    """Names and output shapes of all operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, list[tuple[int, ...]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.operations.append((func._overloadpacket.__name__, shapes))
        return out


@pytest.fixture(params=["absolute", "bounded"])
def started(
    request: pytest.FixtureRequest, golden_dit: CausalDiT, session: Callable[..., Any]
) -> Callable[[int], Tensor]:
    given = session(12, position=request.param)
    generator = BlockGenerator(golden_dit, given.stream)
    generator.start(given.context, given.reference)

    def step(b: int) -> Tensor:
        latents = generator.denoise(given.audio[:, 3 * b : 3 * b + 3], given.noise[b])
        generator.clean()
        return latents

    return step


def test_every_steady_block_runs_the_same_operations(started: Callable[[int], Tensor]) -> None:
    blocks = []
    for b in range(12):
        with Record() as record:
            started(b)
        blocks.append(record.operations)
    assert len(blocks[6]) > 100
    assert all(operations == blocks[6] for operations in blocks[6:])


def test_no_operation_reads_a_value_on_the_host(started: Callable[[int], Tensor]) -> None:
    with Record() as record:
        for b in range(8):
            started(b)
    names = {name for name, _ in record.operations}
    assert "index_copy_" in names
    assert not names & {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select", "unique"}


def test_memory_does_not_grow_from_block_to_block(
    started: Callable[[int], Tensor], live_bytes: Callable[[], int]
) -> None:
    held = []
    for b in range(12):
        started(b)
        held.append(live_bytes() if b >= 5 else 0)  # it takes longer than a block does
    assert len(set(held[5:])) == 1


def without_memory(**settings: Any) -> CausalDiT:
    """LiveTalk-1.3B at 512×512 without memory behind it: shapes are computed, and nothing can be read."""
    with torch.device("meta"):
        dit = CausalDiT(DiTConfig(**settings))
    return dit.to(torch.bfloat16).requires_grad_(False).use_attention("sdpa")


def test_the_real_size_runs_without_reading_a_value_and_counted_arithmetic_is_what_runs() -> None:
    real_size, stream = without_memory(), StreamConfig(position="bounded", steps=1)
    generator = BlockGenerator(real_size, stream)
    with torch.device("meta"):
        generator.start(torch.empty(1, 512, 4096), torch.empty(1, 16, 1, 64, 64))
        audio = real_size.embed_audio(torch.empty(12, 10_752))
        with FlopCounterMode(display=False) as counter:
            latents = generator.denoise(audio, torch.empty(1, 3, 16, 64, 64))
        forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            generator.clean()
        clean = counter.get_total_flops()
        for _ in range(5):  # the window rolls at the last
            generator.cache.begin_block()
    assert latents.shape == (3, 16, 64, 64)
    assert latents.dtype == torch.bfloat16
    assert generator.cache.k.shape == (30, 12, 15_360, 128)
    assert sum(c.nbytes for c in (generator.cache.k, generator.cache.v)) == pytest.approx(2.83e9, rel=1e-3)
    published = dit_forward(real_size.config, stream, attended=3)
    # Left out here: the text embedding and the image's share of the patch embedding, both computed once per session.
    once = 2 * 512 * (4096 + 1536) * 1536 + 2 * 3072 * 1536 * 4 * 17
    assert forward == pytest.approx(published.total - once, rel=1e-9)
    # The clean pass leaves the last layer after its keys and values, and the head altogether.
    layer = (published.total - once) / 30
    assert forward - layer < clean < forward - 0.8 * layer


def test_no_block_of_the_real_size_reads_a_value() -> None:
    """At every length of the window and as it rolls; a few layers are as good as thirty."""
    dit = without_memory(num_layers=4)
    generator = BlockGenerator(dit, StreamConfig(position="bounded", steps=1))
    with torch.device("meta"):
        generator.start(torch.empty(1, 512, 4096), torch.empty(1, 16, 1, 64, 64))
        for _ in range(6):  # the window rolls at the last
            audio = dit.embed_audio(torch.empty(12, 10_752))
            latents = generator.denoise(audio, torch.empty(1, 3, 16, 64, 64))
            generator.clean()
    assert latents.shape == (3, 16, 64, 64)
    assert latents.dtype == torch.bfloat16


@pytest.mark.parametrize("kernel", ["cudnn", "flash"])
def test_the_kernels_of_a_gpu_take_what_they_are_given(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    """Without memory torch holds 8-bit products to a GPU's demands on strides and sizes."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    dit = quantize_layers(without_memory(num_layers=4))
    for layer in dit.layers:
        layer.attend = attention_kernel(kernel, torch.device("cuda"), torch.bfloat16)
    generator = BlockGenerator(dit, StreamConfig(position="bounded", steps=1))
    with torch.device("meta"):
        generator.start(torch.empty(1, 512, 4096), torch.empty(1, 16, 1, 64, 64))
        for _ in range(2):
            latents = generator.denoise(torch.empty(1, 3, 1536), torch.empty(1, 3, 16, 64, 64))
            generator.clean()
    assert latents.shape == (3, 16, 64, 64)


def test_the_decoder_compiles_whole_for_three_static_shapes_and_its_steps_agree() -> None:
    """Through the tracer, without generating code: the steps are functions of latent and cache only.

    The published decoder has every part of this one, and more of each."""
    config = VAEConfig(dim=4, dim_mult=(1, 1, 1, 1), num_res_blocks=0)
    state = random_tensors(vae_module.reference_shapes(config))
    plain, exact, traced = (
        WanVAE.from_state(config, state, channels_last=True, onednn=onednn) for onednn in (True, False, True)
    )
    latents = torch.randn((1, 16, 6, 4, 4), generator=torch.Generator().manual_seed(0))
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(inputs)
        return graph.forward

    torch._dynamo.reset()
    traced.compile(backend=keep, fullgraph=True)
    frames = traced.decode(latents)
    # The first latent, the second, whose cache is shorter, and all others.
    assert len(graphs) == 3
    assert not any(isinstance(given, torch.SymInt) for inputs in graphs for given in inputs)
    assert (frames.int() - plain.decode(latents).int()).abs().max() <= 1  # a compiler takes other convolutions
    stream = traced.decoder_stream()
    parts = [stream.decode_float(part) for part in latents.split(1, dim=2)]
    assert torch.allclose(torch.cat(parts, dim=2), exact.decode_float(latents), atol=2e-5)
    assert len(graphs) == 3


@pytest.mark.parametrize("float8", [False, True], ids=["bfloat16", "float8"])
def test_a_layer_is_traced_whole_with_every_kernel(monkeypatch: pytest.MonkeyPatch, float8: bool) -> None:
    """At its real size, as it is compiled for a GPU: GELU within its product, the cache written where it lies."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    dit = without_memory(num_layers=4)
    if float8:
        quantize_layers(dit)
    layer, config, stream = dit.layers[0], dit.config, StreamConfig()
    layer.gelu_in_product = True
    tokens, head = FRAMES_PER_BLOCK * stream.tokens_per_frame, config.head_dim
    with torch.device("meta"):
        keys, values = (torch.empty((12, 15 * 1024, head), dtype=torch.bfloat16) for _ in range(2))
        given: tuple[Any, ...] = (
            torch.empty((FRAMES_PER_BLOCK, stream.tokens_per_frame, config.dim), dtype=torch.bfloat16),
            torch.empty((6, 1, config.dim), dtype=torch.bfloat16),
            torch.empty((tokens, 1, head // 2, 2)),
            *(torch.empty((512, 12, head), dtype=torch.bfloat16) for _ in range(2)),
            None,
            LayerCache(keys, values, torch.empty(tokens, dtype=torch.long), 12 * 1024),
        )
    for kernel in ("cudnn", "flash", "math", "sdpa"):
        graphs: list[torch.fx.GraphModule] = []

        def keep(graph: torch.fx.GraphModule, inputs: list[Any], graphs: list[Any] = graphs) -> Callable[..., Any]:
            graphs.append(graph)
            return graph.forward

        layer.attend = attention_kernel(kernel, torch.device("cuda"), torch.bfloat16)
        torch._dynamo.reset()
        with torch.inference_mode():
            out = torch.compile(layer.forward, backend=keep, fullgraph=True, dynamic=False)(*given)
        assert out.shape == given[0].shape and len(graphs) == 1
        names = [str(node.target) for node in graphs[0].graph.nodes]
        assert sum("index_copy_" in name for name in names) == 2
        # An 8-bit product has no epilogue for it.
        assert sum("_addmm_activation" in name for name in names) == (not float8)
        assert sum("gelu" in name for name in names) == float8


def test_a_break_in_the_graph_is_an_error(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    def printing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return q

    torch._dynamo.reset()
    dit = CausalDiT.from_state(golden_config, golden_state)
    for layer in dit.layers:
        layer.attend = printing
    generator = BlockGenerator(dit.compile_layers(backend="eager"), StreamConfig(4, 4, steps=1))
    generator.start(torch.zeros(1, 8, golden_config.text_dim), torch.zeros(1, 16, 1, 4, 4))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"):
        generator.denoise(generator.audio, generator.noise)


def test_a_long_window_is_compiled_at_every_length(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    """Torch keeps 8 codes of a function unless it is told otherwise, and then goes on uncompiled."""
    torch._dynamo.reset()
    dit = CausalDiT.from_state(golden_config, golden_state).compile_layers(backend="eager")
    generator = BlockGenerator(dit, StreamConfig(4, 4, window=27, steps=1))
    generator.start(torch.zeros(1, 8, golden_config.text_dim), torch.zeros(1, 16, 1, 4, 4))
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with ThreadPoolExecutor(1) as elsewhere:  # as a performer computes; torch's settings are each thread's own
        for _ in range(10):
            elsewhere.submit(generator.denoise, generator.audio, generator.noise).result()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before == 9
    longest = max(SIZES["1.3B"].stream.window, TRAINED_FRAMES, ROPE_FRAMES)
    assert longest <= CACHE_LENGTHS * FRAMES_PER_BLOCK


def test_gelu_within_the_product_is_gelu(golden_dit: CausalDiT) -> None:
    """On a CPU torch has its other form there, which differs by less than 5e-4: it is not taken."""
    draw = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(32, 48)
    x = torch.randn(2, 5, 32, generator=draw)
    with torch.inference_mode():
        expected = torch.nn.functional.gelu(linear(x), approximate="tanh")
        torch.testing.assert_close(gelu_linear(x, linear), expected, atol=5e-4, rtol=0)
    assert not gelu_linear_agrees(torch.device("cpu"), torch.float32)
    assert not golden_dit.fuse_gelu().layers[0].gelu_in_product


@pytest.mark.parametrize("attention", ["sdpa", "math"])
def test_the_layers_compile_whole_and_once_per_cache_length(
    golden_config: DiTConfig,
    golden_state: dict[str, Tensor],
    session: Callable[..., Any],
    run_session: Callable[..., Tensor],
    attention: str,
) -> None:
    given = session(5, window=9, sink=3)
    expected = run_session(given)
    torch._dynamo.reset()
    dit = CausalDiT.from_state(golden_config, golden_state, attention=attention)
    dit.compile_layers(backend="aot_eager", fullgraph=True)
    generator = BlockGenerator(dit, given.stream)
    generator.start(given.context, given.reference)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for b, noise in enumerate(given.noise):
        latents = generator.denoise(given.audio[:, 3 * b : 3 * b + 3], noise)
        generator.clean()
        torch.testing.assert_close(latents, expected[b], atol=2e-5, rtol=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before <= given.stream.window // 3 == 3
