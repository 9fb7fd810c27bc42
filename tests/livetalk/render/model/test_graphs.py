"""Recorded blocks, on CUDA graphs emulated on the CPU: the same latents, and no more recordings than come again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from emulated_graph import Captures, emulated_graphs
from livetalk.render.model import CausalDiT, block
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.graphs import CudaRecorder, Replays
from torch import Tensor

CPU = torch.device("cpu")
BLOCKS = 9


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Captures]:
    # As on a GPU, where every text has as many rows.
    monkeypatch.setattr(block, "merge_padding", lambda context: (context, None))
    with emulated_graphs(monkeypatch) as captures:
        yield captures


def sessions(generator: BlockGenerator, given: Any, count: int = 2) -> list[Tensor]:
    """Latents of a few sessions with other texts and pictures, one after the other."""
    latents = []
    for number in range(count):
        generator.start(given.context + number, given.reference * (1 - number))
        for b, noise in enumerate(given.noise):
            latents.append(generator.denoise(given.audio[:, 3 * b : 3 * b + 3], noise + number))
            generator.clean()
    return latents


@pytest.mark.parametrize(
    ("position", "at_once"),
    [("bounded", True), ("absolute", False)],
    ids=["bounded, at once", "absolute, when it comes again"],
)
def test_recorded_blocks_are_the_same_blocks(
    golden_dit: CausalDiT, session: Callable[..., Any], captures: Captures, position: str, at_once: bool
) -> None:
    """Bit for bit over two sessions, with another text and picture in the second."""
    given = session(BLOCKS, position=position)
    plain = sessions(BlockGenerator(golden_dit, given.stream), given)
    generator = BlockGenerator(golden_dit, given.stream, graphs=CudaRecorder(CPU))
    if at_once:
        with generator.recording_at_once():
            replayed = sessions(generator, given)
    else:
        replayed = sessions(generator, given)
    assert all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))
    # Denoising and the clean pass, each for five lengths of the window; where positions are bounded, the turning back.
    assert generator.recorded == len(captures.graphs) == 10 + (position == "bounded")
    assert captures.memories == 1


def test_what_does_not_come_again_is_not_recorded(
    golden_dit: CausalDiT, session: Callable[..., Any], captures: Captures
) -> None:
    """A clip of its own length has a longer cache at every block; one with a window comes to its last length."""
    given = session(BLOCKS)
    unlimited = replace(given.stream, window=3 * BLOCKS, sink=0)
    generator = BlockGenerator(golden_dit, unlimited, graphs=CudaRecorder(CPU))
    sessions(generator, given, count=1)
    assert captures.graphs == []
    generator = BlockGenerator(golden_dit, given.stream, graphs=CudaRecorder(CPU))
    sessions(generator, given, count=1)
    assert len(captures.graphs) == 2


def test_a_text_of_the_same_length_needs_no_new_recording(
    golden_dit: CausalDiT, session: Callable[..., Any], captures: Captures
) -> None:
    given = session(2)
    generator = BlockGenerator(golden_dit, given.stream, graphs=CudaRecorder(CPU))
    with generator.recording_at_once():
        sessions(generator, given, count=1)
    recorded = len(captures.graphs)
    sessions(generator, given, count=2)
    assert len(captures.graphs) == recorded == 4
    generator.start(given.context[:, :5], given.reference)
    assert generator.recorded == 0, "a text of another length lies elsewhere"


def test_nothing_recorded_comes_from_the_host(
    golden_dit: CausalDiT, session: Callable[..., Any], captures: Captures
) -> None:
    """A number that was copied to the device while recording would be the same at every replay, if it were legal."""
    given = session(BLOCKS, position="bounded")
    generator = BlockGenerator(golden_dit, given.stream, graphs=CudaRecorder(CPU))
    with generator.recording_at_once():
        sessions(generator, given, count=1)
    for graph in captures.graphs:
        names = [str(call.operation) for call in graph.tape.calls]
        assert names
        for call, name in zip(graph.tape.calls, names, strict=True):
            assert not call.kwargs.get("pin_memory"), name
            assert "lift_fresh" not in name and "_local_scalar_dense" not in name and "_pin_memory" not in name


def test_recording_is_held_apart_and_its_error_leaves_the_work_done() -> None:
    order: list[str] = []

    class Broken:
        def record(self, work: Callable[[], None]) -> Any:
            order.append("record")
            raise RuntimeError("out of memory")

        def forget(self) -> None:
            order.append("forget")

    class Alone:
        def __enter__(self) -> None:
            order.append("alone")

        def __exit__(self, *_: object) -> None:
            order.append("left")

    replays = Replays(Broken(), Alone)
    replays.run("a", lambda: order.append("work"))
    assert order == ["work"]
    with pytest.raises(RuntimeError, match="out of memory"):
        replays.run("a", lambda: order.append("work"))
    assert order == ["work", "alone", "record", "left"] and replays.keys == frozenset()
    replays.clear()
    assert order[-1] == "forget"
