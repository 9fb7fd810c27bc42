"""CUDA graphs emulated on a CPU: operations are recorded with the very tensors they work on and made again on them.

As on a GPU, recording does nothing: what it changed in memory that was there before is put back. Whatever Python
decides, and every number that comes from Python, is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Call:
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Tensor]
    fresh: list[bool]
    """Whether a result has memory of its own."""


class Tape(TorchDispatchMode):
    """Every operation that writes something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {memory(one): one for one in tensors((args, kwargs))}
        if func._schema.is_mutable:
            for place, one in given.items():
                if place not in self._before and place not in self._made:
                    whole = one.detach().as_strided((one.untyped_storage().nbytes() // one.element_size(),), (1,), 0)
                    self._before[place] = (whole, whole.clone())
        out = func(*args, **kwargs)
        results = tensors(out)
        fresh = [one.numel() > 0 and memory(one) not in given for one in results]
        self._made |= {memory(one) for one, new in zip(results, fresh, strict=True) if new}
        if func._schema.is_mutable or any(fresh):
            self.calls.append(Call(func, args, kwargs, results, fresh))
        return out

    def undo(self) -> None:
        """Put back what was there before the recording."""
        for whole, before in self._before.values():
            whole.copy_(before)


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@dataclass
class EmulatedGraph:
    """As much of ``torch.cuda.CUDAGraph`` as is used."""

    tape: Tape = field(default_factory=Tape)

    def pool(self) -> tuple[int, int]:
        return (0, 1 + id(self))

    def replay(self) -> None:
        with torch.utils._python_dispatch._disable_current_modes():  # who counts launches sees one
            for call in self.tape.calls:
                again = tensors(call.operation(*call.args, **call.kwargs))
                for kept, new, fresh in zip(call.results, again, call.fresh, strict=True):
                    if fresh:
                        kept.copy_(new)


@dataclass
class Captures:
    """What was recorded, and who is asked before and after."""

    graphs: list[EmulatedGraph] = field(default_factory=list)
    memories: int = 0
    """How many recorders there are: the graphs of each share their memory."""
    begun: Callable[[], None] = lambda: None
    """Called while a recording is under way."""


@contextmanager
def emulated_graphs(patch: pytest.MonkeyPatch) -> Iterator[Captures]:
    """CUDA's graphs on a CPU, for ``CudaRecorder(torch.device("cpu"))``."""
    captures = Captures()

    @contextmanager
    def graph(
        graph: EmulatedGraph, pool: object = None, stream: object = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local", "other threads are at work"
        if pool is None:
            captures.memories += 1
        else:
            assert pool in [one.pool() for one in captures.graphs], "graphs of one recorder share its memory"
        captures.begun()
        with graph.tape:
            yield
        graph.tape.undo()
        captures.graphs.append(graph)

    patch.setattr(torch.cuda, "CUDAGraph", EmulatedGraph)
    patch.setattr(torch.cuda, "graph", graph)
    patch.setattr(torch.cuda, "device", lambda device: nullcontext())
    yield captures
