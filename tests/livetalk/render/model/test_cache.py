from collections.abc import Callable
from typing import Any

import pytest
import torch
from livetalk.base.errors import SessionError
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.rotary import rotate
from livetalk_published_loop import PublishedLoop
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Counts operations other than views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        results = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        self.count += func._schema.is_mutable or any(r.untyped_storage().data_ptr() not in given for r in results)
        return out


def test_sinks_and_buffers_never_move(golden_dit: CausalDiT, session: Callable[..., Any]) -> None:
    given = session(12, window=15, sink=9)
    generator = BlockGenerator(golden_dit, given.stream)
    generator.start(given.context, given.reference)
    cache, sink = generator.cache, 9 * given.stream.tokens_per_frame
    addresses = [tensor.data_ptr() for tensor in (cache.k, cache.v, cache.rows, cache.rotation)]
    for b, noise in enumerate(given.noise):
        generator.denoise(given.audio[:, 3 * b : 3 * b + 3], noise)
        generator.clean()
        if b == 2:
            kept = cache.k[:, :, :sink].clone(), cache.v[:, :, :sink].clone()
    assert torch.equal(cache.k[:, :, :sink], kept[0])
    assert torch.equal(cache.v[:, :, :sink], kept[1])
    assert [tensor.data_ptr() for tensor in (cache.k, cache.v, cache.rows, cache.rotation)] == addresses


def test_released_window_holds_the_published_frames(golden_dit: CausalDiT) -> None:
    cache = golden_dit.new_cache(StreamConfig(4, 4, window=15, sink=9))
    held = []
    for _ in range(8):
        cache.begin_block()
        slots = {cache.slot(frame): frame for frame in range(cache.end)}
        held.append(sorted(slots[slot] for slot in range(cache.valid_frames)))
    sinks = list(range(9))
    assert held[:5] == [list(range(3 * b + 3)) for b in range(5)]
    assert held[5] == [*sinks, 12, 13, 14, 15, 16, 17]
    assert held[7] == [*sinks, 18, 19, 20, 21, 22, 23]


def test_absolute_positions_end_with_a_clear_error(golden_dit: CausalDiT) -> None:
    cache = golden_dit.new_cache(StreamConfig(4, 4))
    for _ in range(341):
        cache.begin_block()
    assert cache.end == 1023
    with pytest.raises(SessionError, match=r"absolute positions end at 1024.*bounded"):
        cache.begin_block()


@pytest.mark.parametrize(("window", "sink"), [(15, 9), (21, 9), (16, 4)])
def test_the_modes_agree_exactly_until_the_window_rolls(
    session: Callable[..., Any], run_session: Callable[..., Tensor], window: int, sink: int
) -> None:
    blocks = window // 3
    absolute, bounded = (
        run_session(session(blocks + 1, window=window, sink=sink, position=position))
        for position in ("absolute", "bounded")
    )
    assert torch.equal(absolute[:blocks], bounded[:blocks])
    assert not torch.equal(absolute[blocks], bounded[blocks])


@pytest.mark.parametrize("window", [3, 9, 10, 21])
def test_without_sinks_the_modes_are_the_same_attention(
    session: Callable[..., Any], run_session: Callable[..., Tensor], close: Callable[..., None], window: int
) -> None:
    """Only differences of positions matter, and without sinks both modes have the same ones."""
    absolute, bounded = (
        run_session(session(12, window=window, sink=0, position=position)) for position in ("absolute", "bounded")
    )
    close(bounded, absolute)


@pytest.mark.parametrize(("window", "sink"), [(15, 9), (12, 3), (16, 7), (21, 9)])
def test_bounded_positions_are_those_of_a_contiguous_window(
    golden_config: DiTConfig,
    golden_state: dict[str, Tensor],
    session: Callable[..., Any],
    run_session: Callable[..., Tensor],
    close: Callable[..., None],
    window: int,
    sink: int,
) -> None:
    """Against keys kept unrotated and turned, at every forward, to positions 0, 1, 2, … over the window in order."""

    class Contiguous(PublishedLoop):
        def _self_attention(self, name: str, u: Tensor, i: int, rotation: Tensor, start: int) -> Tensor:
            offset = min(start, window - 3)
            self._turned = self._window_rotation(rotation)
            self._query = self._turned[offset * self.n : (offset + 3) * self.n]
            return super()._self_attention(name, u, i, torch.ones_like(rotation), start)

        def _window_rotation(self, rotation: Tensor) -> Tensor:
            frame = self.tables[0][:window].repeat_interleave(self.n, dim=0)
            spatial = rotation[: self.n, 0, frame.shape[1] :].repeat(window, 1)
            return torch.cat((frame, spatial), dim=1)[:, None]

        def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if k.shape[1] == given.context.shape[1]:  # cross-attention
                return super()._attend(q, k, v)
            return super()._attend(self._rotate(q, self._query), self._rotate(k, self._turned[: k.shape[1]]), v)

    given = session(10, window=window, sink=sink, position="bounded")
    loop = Contiguous(golden_config, {k: v.float() for k, v in golden_state.items()}, given.stream)
    latents = run_session(given)
    for b, noise in enumerate(given.noise):
        expected = loop.block(
            b,
            noise[0].transpose(0, 1)[None],
            noise[1:].transpose(1, 2)[:, None],
            given.reference,
            given.audio[:, 3 * b : 3 * b + 3, None, None],
            given.context,
        )
        close(latents[b], expected[0].transpose(0, 1))


def test_bounded_positions_stay_within_the_window(golden_dit: CausalDiT) -> None:
    stream = StreamConfig(4, 4, window=15, sink=9, position="bounded")
    cache = golden_dit.new_cache(stream)
    seen = []
    for _ in range(7):
        cache.begin_block()
        seen.append(cache.rotation.clone())
    assert torch.equal(seen[4], seen[5])
    assert torch.equal(seen[5], seen[6])


def test_rolling_the_window_is_one_piece_of_work(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    """It is handed to whoever runs it; compiled, it turns the keys of all layers by one call."""
    stream = StreamConfig(4, 4, window=6, sink=0, position="bounded")
    calls: list[tuple[int, ...]] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        def called(*given: Tensor) -> Any:
            calls.append(tuple(given[0].shape))
            return graph.forward(*given)

        return called

    torch._dynamo.reset()
    plain = CausalDiT.from_state(golden_config, golden_state)
    compiled = CausalDiT.from_state(golden_config, golden_state).compile_layers(backend=counting)
    turned = []
    for dit in (plain, compiled):
        cache = dit.new_cache(stream)
        for _ in range(2):
            cache.begin_block()
        keys = torch.randn(cache.k.shape, generator=torch.Generator().manual_seed(0))
        cache.k.copy_(keys)
        pieces: list[tuple[int, Callable[[], None]]] = []

        def keep(frames: int, work: Callable[[], None], pieces: list[Any] = pieces) -> None:
            pieces.append((frames, work))

        cache.begin_block(keep)
        ((frames, work),) = pieces
        assert frames == 3 and torch.equal(cache.k, keys)
        work()
        assert not torch.equal(cache.k, keys)
        turned.append(cache.k.clone())
    torch.testing.assert_close(turned[1], turned[0], atol=1e-6, rtol=0)
    assert [shape[0] for shape in calls] == [golden_config.num_layers]


def test_beginning_a_block_takes_few_operations(golden_dit: CausalDiT) -> None:
    cache = golden_dit.new_cache(StreamConfig(4, 4, window=6, sink=0, position="bounded"))
    for _ in range(2):
        cache.begin_block()
    with Operations() as operations:
        cache.begin_block(lambda frames, work: None)
    assert operations.count <= 12


def test_turning_back_undoes_turning(golden_dit: CausalDiT) -> None:
    stream = StreamConfig(4, 4, window=6, sink=0, position="bounded")
    cache = golden_dit.new_cache(stream)
    for _ in range(2):
        cache.begin_block()
    k = torch.randn(cache.k.shape, generator=torch.Generator().manual_seed(0))
    frames = cache._frame_rotation[3]
    width = 2 * len(frames)
    turned = torch.cat((rotate(k[..., :width], frames), k[..., width:]), dim=-1)
    cache.k.copy_(turned)
    cache.begin_block()
    torch.testing.assert_close(cache.k, k, atol=1e-5, rtol=0)
