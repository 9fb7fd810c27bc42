"""A device's queues of work, and the ways of tensors between them and the host."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

_FEW_CORES = 8
"""On fewer, whoever waits for a device sleeps: waiting awake would take a core from whoever works."""


@dataclass(frozen=True, slots=True)
class Streams:
    """CUDA streams by what runs there; None where a device has none.

    CUDA hands out 32 per device and then the same again, and PyTorch keeps memory for each: performers that take turns
    on a device share one set.
    """

    render: torch.cuda.Stream | None = None
    decode: torch.cuda.Stream | None = None
    speech: torch.cuda.Stream | None = None
    """Features of the next block, while the renderer is at this one."""
    capture: torch.cuda.Stream | None = None
    """Where graphs are recorded; nothing runs there."""
    pictures: torch.cuda.Stream | None = None
    """Conditions of a new session."""
    prompts: torch.cuda.Stream | None = None

    @classmethod
    def on(cls, device: torch.device, decode_device: torch.device | None = None) -> Streams:
        """New ones of a device, and of the decoder's where that is another."""
        decode = _stream(device if decode_device is None else decode_device)
        pictures = _stream(device if decode_device is None else decode_device)
        return cls(_stream(device), decode, _stream(device), _stream(device), pictures, _stream(device))


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def on(stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
    """What this thread does goes to the stream."""
    return torch.cuda.stream(stream) if stream is not None else nullcontext()


def mark(stream: torch.cuda.Stream | None) -> torch.cuda.Event | None:
    """A point after all that is on the stream by now."""
    if stream is None:
        return None
    event = torch.cuda.Event(blocking=(os.cpu_count() or 1) < _FEW_CORES)
    event.record(stream)
    return event


def finish(stream: torch.cuda.Stream | None) -> None:
    """Wait until all that is on the stream by now is done; this thread only, other streams go on."""
    event = mark(stream)
    if event is not None:
        event.synchronize()


def follow(stream: torch.cuda.Stream | None) -> None:
    """What comes onto the stream from now on waits for what this thread has begun on its device."""
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(stream.device))


def lend(tensor: Tensor, stream: torch.cuda.Stream | None) -> None:
    """The stream reads the tensor, too: its memory is not given to others before."""
    if stream is not None and tensor.is_cuda and tensor.device == stream.device:
        tensor.record_stream(stream)


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A host's tensor on the device, without waiting for what the device is at."""
    if device.type != "cuda":
        return tensor.to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)
