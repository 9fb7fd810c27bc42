"""Work that comes again in the same memory, recorded once as a CUDA graph and then replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

Work = Callable[[], None]
"""Reads and writes static buffers only."""


class Graph(Protocol):
    """Recorded work."""

    def replay(self) -> None:
        """Do it once more."""


class Recorder(Protocol):
    """Records work without doing it."""

    def record(self, work: Work) -> Graph:
        """What ``work`` does, as it does it now: every number that comes from Python stays as it is."""

    def forget(self) -> None:
        """No graph recorded so far is replayed any more."""


class CudaRecorder:
    """Records CUDA graphs that share their memory: of those of one recorder, one runs at a time."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream | None = None) -> None:
        """
        Args:
            stream: where to record. What libraries reserve for a stream is part of what is recorded there, so that
                sessions which replay at the same time need streams of their own.
        """
        self._device, self._stream = device, stream
        self._memory: Any = None
        """Torch's handle of it."""

    def record(self, work: Work) -> Graph:
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls belong to the capture.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, self._memory, self._stream, capture_error_mode="thread_local"),
        ):
            work()
        self._memory = self._memory or graph.pool()
        return graph

    def forget(self) -> None:
        self._memory = None


class Replays:
    """Runs work by the key of what it depends on.

    Work that comes for the first time is simply done; when it comes again it is recorded, and from then on replayed.
    What never comes again, such as the blocks of a short clip, is so never recorded.
    """

    def __init__(self, recorder: Recorder, alone: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """
        Args:
            alone: held while recording, which waits for the whole device and gives back memory that other threads
                would take again.
        """
        self._recorder, self._alone = recorder, alone
        self._graphs: dict[Hashable, Graph] = {}
        self._seen: set[Hashable] = set()
        self.at_once = False
        """Record what comes for the first time, too: while warming up."""

    @property
    def keys(self) -> frozenset[Hashable]:
        """Of what is recorded."""
        return frozenset(self._graphs)

    def run(self, key: Hashable, work: Work) -> None:
        """Do the work, whichever way."""
        graph = self._graphs.get(key)
        if graph is not None:
            graph.replay()
            return
        again = key in self._seen
        self._seen.add(key)
        if not again:
            work()  # what is compiled, planned or allocated at the first time must not be recorded
        if again or self.at_once:
            with self._alone():
                graph = self._recorder.record(work)
            self._graphs[key] = graph
            if again:
                graph.replay()

    def clear(self) -> None:
        """Forget everything: the buffers are others."""
        self._graphs.clear()
        self._seen.clear()
        self._recorder.forget()
