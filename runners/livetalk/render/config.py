"""Dimensions of the networks and settings of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

AUTO_ATTENTION = "auto"
"""The default among the attention kernels: the best that is installed."""

FRAMES_PER_BLOCK = 3  # latent frames generated together
TEMPORAL_STRIDE = 4  # video frames per latent frame, after the first
SPATIAL_STRIDE = 8  # pixels per latent row or column
TRAINED_FRAMES = 21  # latent frames the student saw in training (spec 13): positions 0…20
ROPE_FRAMES = 1024  # frame positions of the published rotation table (spec 6.4)

PositionMode = Literal["absolute", "bounded"]


SPEECH_LOOK_AHEAD = 4
"""Video frames of speech after a block that its features are made with: 0.25 s (docs/speech-windows.md)."""


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """Causal diffusion transformer (spec 1.1). Defaults are LiveTalk-1.3B."""

    dim: int = 1536
    num_heads: int = 12
    num_layers: int = 30
    ffn_dim: int = 8960
    in_dim: int = 33
    """16 noisy latent + 16 reference latent + 1 mask."""
    out_dim: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    audio_hidden: int = 32
    audio_feat_dim: int = 10_752
    """Channels of one video frame's speech feature."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} must split into {self.num_heads} heads of an even width")
        if self.in_dim <= self.out_dim:
            raise ValueError(f"in_dim {self.in_dim} must hold the {self.out_dim} noisy channels and the condition")
        if self.num_layers < 4:
            raise ValueError("fewer than 4 layers leave no layer that hears the audio")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def cond_dim(self) -> int:
        """Channels of the image condition y: reference latent and mask."""
        return self.in_dim - self.out_dim

    @property
    def audio_injections(self) -> int:
        """Layers 2 … L//2 receive audio (spec 5.10)."""
        return self.num_layers // 2 - 1

    @classmethod
    def from_manifest(cls, config: Mapping[str, Any]) -> DiTConfig:
        """The ``weights.dit.config`` entry of a fixture manifest."""
        patch = tuple(config.get("patch_size", (1, 2, 2)))
        if patch != (1, 2, 2):
            raise ValueError(f"patch size {patch} is not supported; LiveTalk uses (1, 2, 2)")
        return cls(
            dim=config["dim"],
            num_heads=config["num_heads"],
            num_layers=config["num_layers"],
            ffn_dim=config["ffn_dim"],
            in_dim=config["in_dim"],
            out_dim=config["out_dim"],
            text_dim=config["text_dim"],
            freq_dim=config["freq_dim"],
            audio_hidden=config["audio_hidden_size"],
            audio_feat_dim=config["audio_feat_dim"],
            eps=config["eps"],
        )


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """Wan video autoencoder (spec 1.3). Defaults are Wan2.1; decoders have one residual block more per level."""

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)

    @classmethod
    def from_manifest(cls, config: Mapping[str, Any]) -> VAEConfig:
        """The ``weights.vae.config`` entry of a fixture manifest."""
        return cls(
            dim=config["dim"],
            z_dim=config["z_dim"],
            dim_mult=tuple(config["dim_mult"]),
            num_res_blocks=config["num_res_blocks"],
            temporal_downsample=tuple(config["temporal_downsample"]),
        )


@dataclass(frozen=True, slots=True)
class TextConfig:
    """UMT5 encoder (spec 1.2). Defaults are UMT5-XXL."""

    vocab_size: int = 256_384
    dim: int = 4096
    dim_attn: int = 4096
    dim_ffn: int = 10_240
    num_heads: int = 64
    num_layers: int = 24
    num_buckets: int = 32
    text_len: int = 512
    """Rows given to cross-attention, padding included."""

    @classmethod
    def from_manifest(cls, config: Mapping[str, Any]) -> TextConfig:
        """The ``weights.t5.config`` entry of a fixture manifest."""
        names = ("vocab_size", "dim", "dim_attn", "dim_ffn", "num_heads", "num_layers", "num_buckets")
        return cls(**{name: config[name] for name in names})


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """wav2vec2 (spec 1.4), as overrides of the transformers configuration's defaults, which are wav2vec2-base."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_dim(self) -> int:
        """Channels per video frame: the last hidden state, then every hidden state (spec 5.7)."""
        return (self.num_hidden_layers + 2) * self.hidden_size

    @classmethod
    def from_manifest(cls, config: Mapping[str, Any]) -> SpeechConfig:
        """The ``weights.wav2vec2.config`` entry of a fixture manifest."""
        return cls(config["hidden_size"], config["num_hidden_layers"], dict(config))


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Settings of one session. Defaults are the released ones at 512×512 (spec 2).

    ``window`` and ``sink`` count latent frames; the window includes the block being generated (spec 7). ``window=-1``
    keeps every frame and is only for clips of known length.
    """

    latent_height: int = 64
    latent_width: int = 64
    window: int = 15
    sink: int = 9
    position: PositionMode = "absolute"
    steps: int = 4
    middle: float = 1.0
    """Share of a portrait's height and width, around its middle, that the model was trained to show."""

    def __post_init__(self) -> None:
        if self.latent_height % 2 or self.latent_width % 2 or min(self.latent_height, self.latent_width) < 2:
            raise ValueError(f"the latent size {self.latent_height}×{self.latent_width} must be even both ways")
        if self.position not in ("absolute", "bounded"):
            raise ValueError(f"position mode {self.position!r} is unknown; use 'absolute' or 'bounded'")
        if not 0 < self.middle <= 1:
            raise ValueError(f"{self.middle} of a portrait can't be shown")
        if self.steps < 1:
            raise ValueError("a block needs at least one denoising step")
        if self.window == -1:
            if self.position == "bounded":
                raise ValueError("bounded positions need a finite window")
        elif self.window < FRAMES_PER_BLOCK:
            raise ValueError(f"window {self.window} can't hold a block of {FRAMES_PER_BLOCK} latent frames")
        elif not 0 <= self.sink <= self.window - FRAMES_PER_BLOCK:
            raise ValueError(
                f"sink {self.sink} must leave a block of {FRAMES_PER_BLOCK} latent frames in window {self.window}"
            )
        if self.position == "bounded" and self.window > TRAINED_FRAMES:
            raise ValueError(
                f"bounded positions stay within the {TRAINED_FRAMES} latent frames the model was trained on; "
                f"window {self.window} would leave them"
            )

    @property
    def tokens_per_frame(self) -> int:
        return (self.latent_height // 2) * (self.latent_width // 2)

    @property
    def height(self) -> int:
        """Pixels."""
        return self.latent_height * SPATIAL_STRIDE

    @property
    def width(self) -> int:
        """Pixels."""
        return self.latent_width * SPATIAL_STRIDE

    def for_clip(self, latent_frames: int) -> StreamConfig:
        """The same settings with an unlimited window made concrete for a clip of ``latent_frames``."""
        return replace(self, window=latent_frames, sink=0) if self.window == -1 else self


@dataclass(frozen=True, slots=True)
class Size:
    """A named set of networks with the picture they are benched at."""

    name: str
    dit: DiTConfig
    vae: VAEConfig
    text: TextConfig
    speech: SpeechConfig
    stream: StreamConfig


_TINY_SPEECH = SpeechConfig(
    32,
    3,
    {
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "vocab_size": 32,
    },
)

_MINI_SPEECH = SpeechConfig(
    64,
    3,
    {
        "conv_dim": [48] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "intermediate_size": 192,
        "num_attention_heads": 4,
        "vocab_size": 32,
    },
)

SIZES: dict[str, Size] = {
    "1.3B": Size("1.3B", DiTConfig(), VAEConfig(), TextConfig(), SpeechConfig(), StreamConfig()),
    # Trained on a CPU by this repository's own recipe (docs/training.md).
    "mini": Size(
        "mini",
        DiTConfig(
            dim=128,
            num_heads=4,
            num_layers=6,
            ffn_dim=448,
            text_dim=64,
            freq_dim=128,
            audio_hidden=48,
            audio_feat_dim=_MINI_SPEECH.feature_dim,
        ),
        VAEConfig(dim=12),
        TextConfig(vocab_size=320, dim=64, dim_attn=64, dim_ffn=128, num_heads=4, num_layers=2, text_len=48),
        _MINI_SPEECH,
        StreamConfig(latent_height=12, latent_width=12, middle=2 / 3),
    ),
    # A transformer large enough to time on a CPU; the other networks are kept small.
    "mid": Size(
        "mid",
        DiTConfig(dim=512, num_heads=4, num_layers=8, ffn_dim=3072, audio_feat_dim=_TINY_SPEECH.feature_dim),
        VAEConfig(dim=8),
        TextConfig(vocab_size=512, dim=4096, dim_attn=64, dim_ffn=64, num_heads=4, num_layers=1),
        _TINY_SPEECH,
        StreamConfig(latent_height=32, latent_width=32),
    ),
    "tiny": Size(
        "tiny",
        DiTConfig(
            dim=64,
            num_heads=2,
            num_layers=6,
            ffn_dim=160,
            text_dim=48,
            freq_dim=32,
            audio_hidden=8,
            audio_feat_dim=_TINY_SPEECH.feature_dim,
        ),
        VAEConfig(dim=8),
        TextConfig(vocab_size=512, dim=48, dim_attn=32, dim_ffn=80, num_heads=4, num_layers=2),
        _TINY_SPEECH,
        StreamConfig(latent_height=16, latent_width=16),
    ),
}


def size(name: str) -> Size:
    """The named size.

    Raises:
        ValueError: the name is unknown.
    """
    try:
        return SIZES[name]
    except KeyError:
        raise ValueError(f"size {name!r} is unknown; choose one of {', '.join(SIZES)}") from None


def video_frames(latent_frames: int) -> int:
    """Video frames that ``latent_frames`` decode to: 1 for the first, 4 for every later one (spec 0)."""
    return TEMPORAL_STRIDE * latent_frames - (TEMPORAL_STRIDE - 1) if latent_frames else 0


def block_frames(block: int) -> tuple[int, int]:
    """First and last video frame of a block, inclusive: 0…8 for block 0, then 12b−3 … 12b+8 (spec 0)."""
    if block < 0:
        raise ValueError(f"block {block} does not exist")
    first = video_frames(FRAMES_PER_BLOCK * block)
    return first, video_frames(FRAMES_PER_BLOCK * (block + 1)) - 1
