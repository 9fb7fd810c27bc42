"""The causal diffusion transformer (spec 6)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livetalk.render.config import AUTO_ATTENTION, FRAMES_PER_BLOCK, ROPE_FRAMES, DiTConfig, StreamConfig
from livetalk.render.model.attention import attention_kernel, choose_kernel, kernel_seconds
from livetalk.render.model.audio import AudioCondition, lead_in
from livetalk.render.model.cache import AnchoredKVCache, TurnBack, turn_back, turn_back_layer_by_layer
from livetalk.render.model.layers import Layer, gelu_linear_agrees, modulate
from livetalk.render.model.rotary import frame_rotation, spatial_rotation, token_rotation
from livetalk.render.model.weights import PATCH, from_published

CACHE_LENGTHS = -(-ROPE_FRAMES // FRAMES_PER_BLOCK)
"""The most lengths that a window can come to have, and a layer be compiled for."""


class TextCondition(NamedTuple):
    """Cross-attention keys and values of every layer, [T,H,D] each; computed once per session."""

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]
    bias: Tensor | None = None  # [1,T], added to the scores


class Modulation(NamedTuple):
    """What a timestep does to every layer; G is 1 when all frames share it, else the number of frames."""

    layers: Tensor  # [L,6,G,d]: shift, 1+scale, gate, shift, 1+scale, gate
    head: Tensor  # [2,G,d]: shift, 1+scale


def sinusoid(timesteps: Tensor, width: int) -> Tensor:
    """[G, width]: cosines, then sines, computed in float64 and rounded to the dtype of ``timesteps`` (spec 6.2)."""
    half = width // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=timesteps.device) / half)
    angle = torch.outer(timesteps.double(), frequencies)
    return torch.cat((angle.cos(), angle.sin()), dim=-1).to(timesteps.dtype)


def patchify(x: Tensor) -> Tensor:
    """[f,C,h,w] to [f,n,C·4], channel slowest, as the patch embedding's weight is laid out."""
    _, rows, columns = PATCH
    f, c, h, w = x.shape
    patches = x.reshape(f, c, h // rows, rows, w // columns, columns).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(f, (h // rows) * (w // columns), c * rows * columns)


def unpatchify(x: Tensor, height: int, width: int) -> Tensor:
    """[f,n,4·C], channel fastest, to [f,C,height,width] (spec 6.6)."""
    _, rows, columns = PATCH
    f, _, values = x.shape
    c = values // (rows * columns)
    patches = x.reshape(f, height // rows, width // columns, rows, columns, c).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(f, c, height, width)


class CausalDiT(nn.Module):
    """Predicts the flow of one block of latent frames from its noisy state and the cache of the frames before it.

    Frames come first in every tensor here: latents are [f,C,h,w], tokens [f,n,d].
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.attention = ""  # name of the kernel in use
        self._attention_wanted = AUTO_ATTENTION
        self._turn: TurnBack = turn_back_layer_by_layer
        dim, taps = config.dim, PATCH[1] * PATCH[2]
        self.patch_x = nn.Linear(config.out_dim * taps, dim, bias=False)
        self.patch_y = nn.Linear(config.cond_dim * taps, dim)
        self.text_in = nn.Linear(config.text_dim, dim)
        self.text_out = nn.Linear(dim, dim)
        self.time_in = nn.Linear(config.freq_dim, dim)
        self.time_out = nn.Linear(dim, dim)
        self.time_projection = nn.Linear(dim, 6 * dim)
        self.audio = AudioCondition(config)
        self.layers = cast("Sequence[Layer]", nn.ModuleList(Layer(config) for _ in range(config.num_layers)))
        self.head_modulation = nn.Parameter(torch.empty(2, dim))
        self.head = nn.Linear(dim, config.out_dim * taps)

    @classmethod
    def from_state(
        cls,
        config: DiTConfig,
        state: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        attention: str = AUTO_ATTENTION,
    ) -> CausalDiT:
        """Build from tensors under the published names (``reference_shapes``).

        Each tensor is read once and goes straight to ``dtype`` and ``device``; a lazily read mapping keeps the peak at
        one layer. Shapes must be right: ``livetalk.render.checkpoint`` checks a file before it comes here.
        """
        with torch.device("meta"):
            model = cls(config)

        def read(name: str) -> Tensor:
            return state[name].to(device=device, dtype=dtype)

        own = from_published(config, read)
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        model.load_state_dict({name: value.reshape(shapes[name]) for name, value in own.items()}, assign=True)
        model.requires_grad_(False).eval()
        return model.use_attention(attention)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.head_modulation.dtype

    def use_attention(self, name: str) -> CausalDiT:
        """Choose the attention kernel by name, "auto" for the best that is installed."""
        self._attention_wanted = name
        return self._attend(choose_kernel(name, self.device, self.dtype, self.config.head_dim))

    def tune_attention(self, stream: StreamConfig, seconds: Callable[[str], float] | None = None) -> CausalDiT:
        """Unless a kernel was asked for by name, take the one that is fastest over a full window.

        Which one that is may change from run to run, and with it the last bits of what is computed.

        Args:
            stream: a finite window.
            seconds: how long a kernel takes; by default as it is timed here.
        """
        if self._attention_wanted != AUTO_ATTENTION:
            return self
        config, tokens = self.config, stream.tokens_per_frame

        def timed(name: str) -> float:
            sizes = {"queries": FRAMES_PER_BLOCK * tokens, "keys": stream.window * tokens}
            return kernel_seconds(
                name, self.device, self.dtype, heads=config.num_heads, head_dim=config.head_dim, **sizes
            )

        return self._attend(
            choose_kernel(AUTO_ATTENTION, self.device, self.dtype, config.head_dim, seconds=seconds or timed)
        )

    def _attend(self, name: str) -> CausalDiT:
        self.attention = name
        kernel = attention_kernel(name, self.device, self.dtype)
        for layer in self.layers:
            layer.attend = kernel
        return self

    def fuse_gelu(self) -> CausalDiT:
        """Let the product before it compute GELU, where that gives the same numbers (``gelu_linear``)."""
        fused = gelu_linear_agrees(self.device, self.dtype)
        for layer in self.layers:
            layer.gelu_in_product = fused
        return self

    def compile_layers(self, **options: Any) -> CausalDiT:
        """Compile the layer once; all layers share the code. Graphs are captured around whole blocks, not here.

        A break in the traced graph is an error, and so is a window of more lengths than code is kept for.

        Args:
            options: those of ``torch.compile``.
        """
        whole: dict[str, Any] = {"dynamic": False, "fullgraph": True, **options}
        # As many codes as there can be lengths of the cache; torch keeps 8. A setting may hold for this thread alone.
        if "recompile_limit" in inspect.signature(torch.compile).parameters:
            whole.setdefault("recompile_limit", CACHE_LENGTHS)
        else:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, CACHE_LENGTHS)
        for layer in self.layers:
            layer.compile(**whole)
        self._turn = torch.compile(turn_back, **whole)
        return self

    def new_cache(self, stream: StreamConfig) -> AnchoredKVCache:
        """Empty key/value buffers for one session."""
        return AnchoredKVCache(self.config, stream, dtype=self.dtype, device=self.device, turn=self._turn)

    # -- conditions, computed once per session or block ------------------------------------------------------------

    def embed_text(self, context: Tensor, bias: Tensor | None = None) -> TextCondition:
        """Text rows [1,T,text_dim], padding rows of zeros included, to the keys and values of every layer.

        ``context`` and ``bias`` may come from ``merge_padding``.
        """
        text = self.text_out(F.gelu(self.text_in(context[0].to(self.dtype)), approximate="tanh"))
        k, v = zip(*(layer.text_keys_values(text) for layer in self.layers), strict=True)
        return TextCondition(k, v, bias)

    def embed_image(self, y: Tensor) -> Tensor:
        """Image condition [f,17,h,w] to its share of the patch embedding, [f,n,d]."""
        return self.patch_y(patchify(y.to(self.dtype)))  # type: ignore[no-any-return]

    def embed_audio(self, features: Tensor) -> Tensor:
        """Speech features [4f,C], four rows per latent frame, to conditions [P,f,d]."""
        return self.audio(features.to(self.dtype))  # type: ignore[no-any-return]

    def embed_time(self, timesteps: Tensor) -> Modulation:
        """Timesteps [G]: one per frame, or a single one for all frames."""
        wave = sinusoid(timesteps.to(self.dtype), self.config.freq_dim)
        e = self.time_out(F.silu(self.time_in(wave)))
        m = self.time_projection(F.silu(e)).unflatten(-1, (6, -1)).transpose(0, 1)  # [6,G,d]
        scales = m.new_tensor((0, 1, 0, 0, 1, 0)).view(6, 1, 1)
        layers = torch.stack([layer.modulation[:, None] + m + scales for layer in self.layers])
        head = self.head_modulation[:, None] + e + scales[:2]
        return Modulation(layers, head)

    # -- passes ----------------------------------------------------------------------------------------------------

    def flow(
        self, x: Tensor, image: Tensor, audio: Tensor, time: Modulation, text: TextCondition, cache: AnchoredKVCache
    ) -> Tensor:
        """Flow of the cache's current block.

        Args:
            x: noisy latents [f,16,h,w].
            image: from ``embed_image``, for these frames.
            audio: from ``embed_audio``, [P,f,d] for these frames.
        """
        tokens = self._run(x, image, audio, time, text, cache, self.layers)
        return self._head(tokens, time, x)

    def store(
        self, x: Tensor, image: Tensor, audio: Tensor, time: Modulation, text: TextCondition, cache: AnchoredKVCache
    ) -> None:
        """The clean pass: leave the keys and values of x in the cache and compute nothing after the last of them."""
        tokens = self._run(x, image, audio, time, text, cache, self.layers[:-1])
        last = len(self.layers) - 1
        tokens = self._hear(tokens, audio, last)
        self.layers[last].store(tokens, time.layers[last], cache.rotation, cache.layer(last))

    def forward_clip(
        self, x: Tensor, timesteps: Tensor, y: Tensor, features: Tensor, context: Tensor, *, window: int = -1
    ) -> Tensor:
        """Whole-clip pass under the block-causal training mask (spec 13).

        Args:
            x: noisy latents [1,16,F,h,w].
            timesteps: [1,F].
            y: [1,17,F,h,w].
            features: raw speech features [1,4F−3,C].
            context: [1,T,text_dim].
            window: latent frames a block may look back, its own included; −1 for all.

        Returns:
            The flow [1,16,F,h,w].
        """
        frames = x[0].transpose(0, 1)
        n = (x.shape[-2] // PATCH[1]) * (x.shape[-1] // PATCH[2])
        flow = self.forward_frames(
            frames,
            self.embed_image(y[0].transpose(0, 1)),
            self.embed_audio(lead_in(features[0])),
            self.embed_time(timesteps[0]),
            self.embed_text(context),
            block_causal_mask(len(frames), n, window, x.device),
        )
        return flow.transpose(0, 1)[None]

    def forward_bidirectional(
        self, x: Tensor, timestep: Tensor, y: Tensor, features: Tensor | None, context: Tensor
    ) -> Tensor:
        """Whole-clip pass of a bidirectional network, as teacher and critic are (training recipe 2.2): every token sees
        every other, and all frames are at one noise level, the known ones (mask 0) included.

        Differentiable where parameters require gradients and the attention kernel has a backward (``sdpa``).

        Args:
            x: latents [1,16,F,h,w], the known frames clean.
            timestep: [1], of the clip.
            y: [1,17,F,h,w]; 0 in the mask channel is a known frame, 1 one to be generated.
            features: raw speech features [1,4F−3,C]; zeros are what "unconditional" means. None leaves the audio layers
                out, biases and all, which no published use does.
            context: [1,T,text_dim].

        Returns:
            The flow [1,16,F,h,w].
        """
        flow = self.forward_frames(
            x[0].transpose(0, 1),
            self.embed_image(y[0].transpose(0, 1)),
            None if features is None else self.embed_audio(lead_in(features[0])),
            self.embed_time(timestep),
            self.embed_text(context),
        )
        return flow.transpose(0, 1)[None]

    def forward_frames(
        self,
        x: Tensor,
        image: Tensor,
        audio: Tensor | None,
        time: Modulation,
        text: TextCondition,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Flow of all frames of a clip at once, at positions 0 … F−1, without a cache.

        Args:
            x: latents [F,16,h,w].
            image: from ``embed_image``.
            audio: from ``embed_audio``, or None to leave it out.
            time: from ``embed_time``, for all frames or for each.
            mask: [F·n, F·n], True where a query may look; None for everywhere.
        """
        rows, columns = x.shape[-2] // PATCH[1], x.shape[-1] // PATCH[2]
        head_dim = self.config.head_dim
        rotation = token_rotation(
            frame_rotation(0, len(x), head_dim, x.device), spatial_rotation(rows, columns, head_dim, x.device)
        )
        tokens = self.patch_x(patchify(x.to(self.dtype))) + image
        for i, layer in enumerate(self.layers):
            tokens = tokens if audio is None else self._hear(tokens, audio, i)
            tokens = layer(tokens, time.layers[i], rotation, text.k[i], text.v[i], text.bias, None, mask)
        return self._head(tokens, time, x)

    def _run(
        self,
        x: Tensor,
        image: Tensor,
        audio: Tensor,
        time: Modulation,
        text: TextCondition,
        cache: AnchoredKVCache,
        layers: Sequence[Layer],
    ) -> Tensor:
        tokens: Tensor = self.patch_x(patchify(x)) + image
        for i, layer in enumerate(layers):
            tokens = self._hear(tokens, audio, i)
            tokens = layer(tokens, time.layers[i], cache.rotation, text.k[i], text.v[i], text.bias, cache.layer(i))
        return tokens

    def _hear(self, tokens: Tensor, audio: Tensor, layer: int) -> Tensor:
        """Add the audio condition before layers 2 … L//2 (spec 5.10)."""
        injection = layer - 2
        return tokens + audio[injection][:, None] if 0 <= injection < len(audio) else tokens

    def _head(self, tokens: Tensor, time: Modulation, like: Tensor) -> Tensor:
        shift, scale = time.head
        return unpatchify(self.head(modulate(tokens, scale, shift, self.config.eps)), *like.shape[-2:])


def merge_padding(context: Tensor) -> tuple[Tensor, Tensor | None]:
    """One row for all padding rows at the end of a prompt, and the bias [1,T] that makes up for it.

    Rows of zeros all have the same key and value (spec 4), so m of them weigh as much as one whose score is higher by
    ln m. The numbers stay the same; attention to the text shrinks from 512 rows to the prompt's own. Reads ``context``
    on the host.
    """
    rows = context.shape[1]
    used = context[0].any(dim=1).nonzero()
    padding = rows - (int(used[-1]) + 1 if len(used) else 0)
    if padding < 2:
        return context, None
    merged = context[:, : rows - padding + 1]
    bias = torch.zeros((1, merged.shape[1]), dtype=context.dtype, device=context.device)
    bias[0, -1] = math.log(padding)
    return merged, bias


def block_causal_mask(frames: int, tokens_per_frame: int, window: int, device: torch.device | str) -> Tensor:
    """[F·n, F·n], True where a query may look: all before its block's end, at most ``window`` frames back from it; and
    itself in any case (spec 13)."""
    frame = torch.arange(frames, device=device).repeat_interleave(tokens_per_frame)
    end = ((frame // FRAMES_PER_BLOCK + 1) * FRAMES_PER_BLOCK).clamp(max=frames)[:, None]
    allowed = frame[None] < end
    if window != -1:
        allowed = allowed & (frame[None] >= end - window) | torch.eye(len(frame), dtype=torch.bool, device=device)
    return allowed
