"""Key/value cache with identity sinks that never move and a ring of recent frames (spec 7 and 12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from livetalk.base.errors import SessionError
from livetalk.render.config import FRAMES_PER_BLOCK, ROPE_FRAMES, DiTConfig, StreamConfig
from livetalk.render.model.rotary import frame_rotation, part_widths, rotate, spatial_rotation, token_rotation

TurnBack = Callable[[Tensor, Tensor], None]
"""Rotates keys [..., S, channels] in place by a rotation [channels/2, 2]."""
Run = Callable[[int, Callable[[], None]], None]
"""Does a piece of work on static buffers that depends on a number alone, perhaps by replaying it."""


def turn_back(keys: Tensor, rotation: Tensor) -> None:
    """A ``TurnBack``, to be compiled to one kernel over all layers."""
    keys.copy_(rotate(keys, rotation))


def turn_back_layer_by_layer(keys: Tensor, rotation: Tensor) -> None:
    """The same where nothing is compiled: of all layers at once, what lies between in float32 would be large."""
    for layer in keys:
        turn_back(layer, rotation)


class LayerCache(NamedTuple):
    """One layer's share of the cache, as a forward pass sees it."""

    k: Tensor  # [H, S, D], normed and rotated
    v: Tensor  # [H, S, D]
    rows: Tensor  # [N] rows of S that the current block owns
    valid: int  # rows 0 … valid−1 hold keys to attend to


class AnchoredKVCache:
    """Static buffers for all layers of one session.

    The first ``sink`` frames keep their rows for ever; later frames go round a ring over the other rows, each new block
    overwriting the oldest. Attention does not depend on the order of its keys, so nothing is ever moved. All positions
    are host integers; no tensor is read back.

    In ``absolute`` mode keys keep the rotation of their frame index. In ``bounded`` mode the current block never stands
    beyond the window's last positions; when the window rolls, the frame angles of the ring's keys are turned back by as
    many frames, in place, and the sinks stay at positions 0 … sink−1.
    """

    def __init__(
        self,
        config: DiTConfig,
        stream: StreamConfig,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        turn: TurnBack = turn_back_layer_by_layer,
    ) -> None:
        """``turn`` is how the ring's keys [L,H,S,channels] are turned back when the window rolls."""
        if stream.window == -1:
            raise ValueError("a cache needs a finite window; StreamConfig.for_clip makes one for a known length")
        self.stream, self._turn = stream, turn
        n = stream.tokens_per_frame
        shape = (config.num_layers, config.num_heads, stream.window * n, config.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.positions = stream.window if stream.position == "bounded" else ROPE_FRAMES
        self._frame_rotation = frame_rotation(0, self.positions + 1, config.head_dim, device)
        self._frame_rotation_back = torch.stack((self._frame_rotation[..., 0], -self._frame_rotation[..., 1]), dim=-1)
        self._spatial_rotation = spatial_rotation(
            stream.latent_height // 2, stream.latent_width // 2, config.head_dim, device
        )
        self._frame_channels = part_widths(config.head_dim)[0]
        self._frame_tokens = torch.arange(n, device=device)
        # What a pass reads of the current block lies at fixed addresses, so that a captured graph sees each new block.
        self.rows = torch.zeros(FRAMES_PER_BLOCK * n, dtype=torch.long, device=device)
        self.rotation = torch.zeros((FRAMES_PER_BLOCK * n, 1, config.head_dim // 2, 2), device=device)
        self.start = self.end = self._shift = 0

    @property
    def valid_frames(self) -> int:
        """Frames in the cache, the current block included."""
        return min(self.end, self.stream.window)

    def reset(self) -> None:
        """Forget everything; the buffers keep their addresses."""
        self.start = self.end = self._shift = 0

    def slot(self, frame: int) -> int:
        """Where a frame of the session lies, in frames."""
        sink = self.stream.sink
        return frame if frame < sink else sink + (frame - sink) % (self.stream.window - sink)

    def begin_block(self, run: Run | None = None) -> None:
        """Make room for the next block and turn to its positions.

        Args:
            run: does the turning back by a number of frames, which is the same work in the same memory every time.

        Raises:
            SessionError: ``absolute`` positions are used up (1024 latent frames, 341 blocks, 255.6 s).
        """
        start, end = self.end, self.end + FRAMES_PER_BLOCK
        shift = 0
        if self.stream.position == "bounded":
            shift = max(end - self.stream.window, 0)
        elif end > self.positions:
            raise SessionError(
                f"The session has reached latent frame {start}, and absolute positions end at {self.positions} "
                f"({self.positions // FRAMES_PER_BLOCK} blocks). Start a new session, or use bounded positions, "
                "which have no end."
            )
        back = shift - self._shift
        if back and run is not None:
            run(back, lambda: self._turn_back(back))
        elif back:
            self._turn_back(back)
        self.start, self.end, self._shift = start, end, shift
        n = self.stream.tokens_per_frame
        for j in range(FRAMES_PER_BLOCK):
            torch.add(self._frame_tokens, self.slot(start + j) * n, out=self.rows[j * n : (j + 1) * n])
        first = start - shift
        self.rotation.copy_(
            token_rotation(self._frame_rotation[first : first + FRAMES_PER_BLOCK], self._spatial_rotation)
        )

    def layer(self, index: int) -> LayerCache:
        """The views one layer works on."""
        return LayerCache(self.k[index], self.v[index], self.rows, self.valid_frames * self.stream.tokens_per_frame)

    def in_order(self, index: int) -> tuple[Tensor, Tensor]:
        """Copies of a layer's keys and values, [1, S, d] in the order of time, heads packed."""
        n, sink, count = self.stream.tokens_per_frame, self.stream.sink, self.valid_frames
        anchored = min(sink, count)
        frames = [*range(anchored), *range(self.end - (count - anchored), self.end)]
        rows = torch.cat([self._frame_tokens + self.slot(frame) * n for frame in frames])
        k, v = (cache[index].index_select(1, rows).transpose(0, 1).flatten(1)[None] for cache in (self.k, self.v))
        return k, v

    def _turn_back(self, frames: int) -> None:
        """Rotate the ring's keys back by a number of frames."""
        ring = self.stream.sink * self.stream.tokens_per_frame
        self._turn(self.k[:, :, ring:, : self._frame_channels], self._frame_rotation_back[frames])
