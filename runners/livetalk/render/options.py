"""Which models run where, and with what settings: from what a user asks for to models and a stream's configuration.

This is the one place where sizes, weights, devices and precisions are chosen; every verb of the command line and every
tool goes through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.render.config import AUTO_ATTENTION, SIZES, PositionMode, Size, StreamConfig
from livetalk.render.config import size as named_size

if TYPE_CHECKING:
    import torch

    from livetalk.render.model import CausalDiT
    from livetalk.render.pipeline import Models

CHECKPOINTS = Path("pretrained_checkpoints")
"""Where the published checkpoints are looked for, as in the release."""

CHECKPOINTS_VARIABLE = "LIVETALK_CHECKPOINTS"

PUBLISHED = "1.3B"
"""The size that has published weights."""
OWN = "mini"
"""The size whose weights come of this repository's own recipe (docs/training.md)."""
BUNDLED = Path(__file__).parent / OWN
"""Where they lie: a folder of `livetalk train assemble`, and a model card."""
BUNDLED_NOTE = (
    "mini is a small model that this project trained on drawn people, by its own recipe (docs/training.md): portraits "
    "like the bundled personas', at 96 by 96 pixels, on any computer. The published 1.3B model needs a GPU: `livetalk "
    "download` fetches it, and --checkpoints names its folder."
)
"""What is said of the small model wherever it runs without having been asked for."""

LIVETALK = "livetalk"
MODELS = (LIVETALK, "omniavatar-1.3b", "omniavatar-14b")
"""What makes a clip: the causal student, or one of the bidirectional models it was distilled from."""

Precision = Literal["auto", "bfloat16", "float16", "float32"]
CompileMode = Literal["default", "max-autotune"]
"""Of torch.compile: without timing anything, or with every product's kernel chosen by time, which takes minutes."""

Checkpoints: TypeAlias = Annotated[
    Path | None,
    Flag(
        "Folder of the published checkpoints, as `livetalk download` fills it.",
        variable=CHECKPOINTS_VARIABLE,
        default=str(CHECKPOINTS),
    ),
]
Position: TypeAlias = Annotated[PositionMode, Flag("absolute is the release, up to 255 s; bounded has no end.")]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Models and devices."""

    size: Annotated[
        str | None,
        Flag(
            "1.3B is the published model; mini is small, trained by our own recipe (docs/training.md), and comes with "
            "livetalk; mid and tiny are for trials, with random weights unless --checkpoints names a folder of `train "
            "assemble`.",
            choices=tuple(SIZES),
            default="1.3B; to serve and to generate without its checkpoints, mini",
        ),
    ] = None
    checkpoints: Checkpoints = None
    weights: Annotated[
        Path | None,
        Flag("LiveTalk's transformer from this file, as `livetalk train export` writes it."),
    ] = None
    random_weights: Annotated[bool, Flag("At size 1.3B, too: shows what this machine can do, without checkpoints.")] = (
        False
    )
    device: Annotated[str, Flag("cuda, cuda:1, cpu; auto is a GPU if there is one.")] = "auto"
    text_device: Annotated[
        str | None,
        Flag("Where prompts are encoded, e.g. cpu to spare 12 GB of GPU memory.", default="that of --device"),
    ] = None
    decode_device: Annotated[
        str | None, Flag("Where frames are decoded, e.g. a second GPU.", default="that of --device")
    ] = None
    dtype: Annotated[Precision, Flag("auto is bfloat16 on a GPU and float32 on a CPU.")] = "auto"
    attention: Annotated[
        str,
        Flag(
            "auto, fa3, fa4, fa2, torch-fa3, torch-fa4, sdpa, cudnn, flash or math; fa3:2 shares the keys among two "
            "blocks of the GPU."
        ),
    ] = AUTO_ATTENTION

    def choose(
        self, *, random_by_default: bool = False, or_bundled: bool = False, model: str = LIVETALK
    ) -> ModelChoice:
        """The models and devices that are meant, all checked before anything is loaded.

        Args:
            random_by_default: take random weights where no checkpoints are named.
            or_bundled: take the bundled small model where it is asked for without a folder, or where nothing says
                which one is meant and the published checkpoints are not there.
            model: one of ``MODELS``.

        Raises:
            OptionError: there is no such size, device or kernel, or not on this machine.
        """
        import torch

        from livetalk.render.model.attention import choose_kernel
        from livetalk.render.speed import require_usable

        or_bundled = or_bundled and model == LIVETALK and is_bundled()
        size = self.size or (OWN if or_bundled and self._names_nothing() else PUBLISHED)
        try:
            chosen = named_size(size)
        except ValueError as error:
            raise OptionError(str(error)) from error
        device = find_device(self.device, size)
        require_usable(torch.__version__, device)
        if self.dtype == "auto":
            dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        else:
            dtype = getattr(torch, self.dtype)
        if self.attention != AUTO_ATTENTION:
            try:
                choose_kernel(self.attention, torch.device(device), dtype)
            except ValueError as error:
                raise OptionError(str(error)) from error
        if model != LIVETALK:
            if self.weights is not None:
                raise OptionError(f"--weights is a file of LiveTalk's transformer; {model} has files of its own")
            if size == PUBLISHED:
                chosen = _of_omniavatar(model, chosen)
        if self.random_weights:
            checkpoints = None
        elif size == PUBLISHED:
            checkpoints = self.checkpoints if random_by_default else self.checkpoints or CHECKPOINTS
        else:
            checkpoints = self._own_files(size)
            if checkpoints is None and size == OWN and or_bundled:
                checkpoints = BUNDLED
        return ModelChoice(
            size=chosen,
            checkpoints=checkpoints,
            device=device,
            text_device=None if self.text_device is None else find_device(self.text_device, size),
            decode_device=None if self.decode_device is None else find_device(self.decode_device, size),
            dtype=dtype,
            attention=self.attention,
            model=model,
            weights=self.weights,
        )

    def _names_nothing(self) -> bool:
        """Whether nothing speaks for the published model."""
        named = self.checkpoints is not None or self.weights is not None or self.random_weights
        return not named and not CHECKPOINTS.exists()

    def _own_files(self, size: str) -> Path | None:
        """The folder of a small model's files; None where there are none, as beside the published files, so that its
        weights are random."""
        from livetalk.render.checkpoint import CheckpointFiles

        if self.checkpoints is None:
            return None
        if CheckpointFiles.flat(self.checkpoints).vae.exists():
            return self.checkpoints
        if size == OWN:
            raise OptionError(
                f"{self.checkpoints} holds no model of size {OWN}; `livetalk train assemble` makes such a folder, "
                "and --random-weights goes without."
            )
        return None


def is_bundled() -> bool:
    """Whether the small model's weights came with livetalk."""
    return (BUNDLED / "card.json").exists()


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What ``ModelOptions`` mean on this machine."""

    size: Size
    checkpoints: Path | None
    """None for random weights."""
    device: str
    text_device: str | None
    decode_device: str | None
    dtype: torch.dtype
    attention: str
    model: str = LIVETALK
    weights: Path | None = None

    @property
    def random(self) -> bool:
        """Whether the weights are random, so that pictures mean nothing."""
        return self.checkpoints is None

    @property
    def bundled(self) -> bool:
        """Whether this is the small model as it comes with livetalk."""
        return self.checkpoints == BUNDLED and self.weights is None

    def require_files(self) -> None:
        """Find out in a moment whether the checkpoints are there; ``load`` looks into them.

        Raises:
            CheckpointError: files are missing.
        """
        from livetalk.render.checkpoint import CheckpointFiles, check_dit
        from livetalk.render.omniavatar.files import OmniAvatarFiles

        if self.weights is not None:
            check_dit(self.weights, self.size.dit)
        if self.checkpoints is None:
            return
        files = CheckpointFiles.under(self.checkpoints)
        if self.model != LIVETALK:
            OmniAvatarFiles.under(self.checkpoints, self.model).require(files)
        elif self.weights is None:
            files.require()
        else:
            replace(files, dit=self.weights).require()

    def load(self) -> Models:
        """Load the published weights, or draw random ones.

        Raises:
            CheckpointError: a file is missing, damaged or another model.
        """
        from livetalk.render.checkpoint import CheckpointFiles
        from livetalk.render.pipeline import load_models, random_models

        dit = self.load_transformer()
        if self.checkpoints is None:
            models = random_models(
                self.size,
                dtype=self.dtype,
                device=self.device,
                decode_device=self.decode_device,
                attention=self.attention,
                dit=dit,
            )
        else:
            models = load_models(
                CheckpointFiles.under(self.checkpoints),
                self.size,
                dtype=self.dtype,
                device=self.device,
                text_device=self.text_device,
                decode_device=self.decode_device,
                attention=self.attention,
                dit=dit,
            )
        if self.weights is not None:
            return replace(models, weights=str(self.weights))
        if self.bundled:
            digest = sha256(CheckpointFiles.under(BUNDLED).dit.read_bytes()).hexdigest()
            return replace(models, weights=f"{self.size.name}, bundled with livetalk, sha256 {digest[:16]}")
        if self.model != LIVETALK:
            return replace(models, weights=f"{self.model}, {self.checkpoints or models.weights}")
        return models

    def load_transformer(self) -> CausalDiT:
        """The transformer alone.

        Raises:
            CheckpointError: a file is missing, damaged or another model.
        """
        from livetalk.render.checkpoint import CheckpointFiles, load_dit
        from livetalk.render.model import CausalDiT, random_state
        from livetalk.render.omniavatar.files import OmniAvatarFiles, load_omniavatar

        config, dtype, device = self.size.dit, self.dtype, self.device
        if self.weights is not None:
            dit = load_dit(self.weights, config, dtype=dtype, device=device)
        elif self.checkpoints is None:
            dit = CausalDiT.from_state(
                config, random_state(config, dtype=dtype, device=device), dtype=dtype, device=device
            )
        elif self.model != LIVETALK:
            dit = load_omniavatar(
                OmniAvatarFiles.under(self.checkpoints, self.model), config, dtype=dtype, device=device
            )
        else:
            dit = load_dit(CheckpointFiles.under(self.checkpoints).dit, config, dtype=dtype, device=device)
        return dit.use_attention(self.attention)


def _of_omniavatar(model: str, size: Size) -> Size:
    """A size with the transformer of a published bidirectional model."""
    from livetalk.render.omniavatar.files import OMNIAVATAR

    return replace(size, name=model, dit=OMNIAVATAR[model])


_RELEASED = StreamConfig()


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Stream: what a block sees, and how it is denoised.

    What is not given is as the size has it.
    """

    window: Annotated[
        int | None,
        Flag(
            "Latent frames attended to, the current block included. Bounded positions allow 21 at most; with absolute "
            "ones, -1 keeps all.",
            default=str(_RELEASED.window),
        ),
    ] = None
    sink: Annotated[
        int | None,
        Flag("First latent frames kept for ever as identity anchors.", default=str(_RELEASED.sink)),
    ] = None
    steps: Annotated[
        int | None,
        Flag(
            "Denoising steps per block; the model was distilled for 4.",
            minimum=1,
            maximum=50,
            default=str(_RELEASED.steps),
        ),
    ] = None

    def apply(self, stream: StreamConfig, position: PositionMode) -> StreamConfig:
        """A size's settings with what was asked for.

        Raises:
            OptionError: the numbers do not go together.
        """
        given = {"window": self.window, "sink": self.sink, "steps": self.steps}
        try:
            return replace(
                stream, position=position, **{name: value for name, value in given.items() if value is not None}
            )
        except ValueError as error:
            raise OptionError(str(error)) from error


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """Speed."""

    compiled: Annotated[
        bool | None,
        Flag(
            "torch.compile.",
            spelling=("--compile/--no-compile",),
            default="on a GPU; for a clip from 30 s on",
        ),
    ] = None
    compile_mode: Annotated[
        CompileMode,
        Flag("max-autotune also chooses the kernel of every product by time: minutes at every first start."),
    ] = "default"
    float8: Annotated[bool, Flag("8-bit linear layers: faster, not the release's numbers.")] = False
    tune: Annotated[
        bool | None,
        Flag(
            "Choose attention and the decoder's convolutions by timing at the start. Another choice may round "
            "otherwise.",
            spelling=("--tune/--no-tune",),
            default="on a GPU, but not for a clip",
        ),
    ] = None
    decoder_graph: Annotated[
        bool,
        Flag(
            "On a GPU, replay the decoder as CUDA graphs, too: some 700 launches of a block less, for the memory of "
            "two more of its caches in each conversation (2.5 GB at 512 × 512). Never measured on a card.",
        ),
    ] = False
    first_alone: Annotated[
        bool,
        Flag(
            "Hand out the first picture before the eight that are made with it. It is seen sooner; its sound pauses "
            "where they take longer than 1/16 s.",
        ),
    ] = False


def find_device(name: str, size: str = PUBLISHED) -> str:
    """The device that a name means: ``auto`` is a GPU where there is one and the size is meant for it.

    Raises:
        OptionError: there is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() and size == PUBLISHED else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"device {name!r} is unknown; use cpu, cuda, cuda:1 or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"{name} can't be used: torch sees no CUDA device here")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"{name} can't be used: torch sees {torch.cuda.device_count()} CUDA devices here")
    return name
