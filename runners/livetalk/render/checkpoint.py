"""The published files, under their own names and keys, into this project's modules (spec section 1).

A file is checked completely before anything is built from it: one that is cut short, lacks a tensor, has one too many
or one of another shape, or holds another model is refused, and the message names the first few offenders. Tensors then
go one by one to the target dtype and device.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from livetalk.base.errors import CheckpointError
from livetalk.render.config import DiTConfig, SpeechConfig, TextConfig, VAEConfig
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.encoders.speech import SpeechEncoder
from livetalk.render.encoders.text import TextEncoder
from livetalk.render.model import CausalDiT, reference_shapes
from livetalk.render.model.weights import shape_digest

if TYPE_CHECKING:
    from livetalk.render.vae import WanVAE

Shapes = Mapping[str, tuple[int, ...]]

KNOWN_MODELS = {
    "2bf9513c7a3e908015f11a800fc9b820": "the LiveTalk-1.3B transformer",
    "883a90b12576b9b8693a08cf690998dd": "the OmniAvatar-14B transformer, LiveTalk's teacher",
    "9269f8db9040a9d860eaca435be61814": "the plain Wan 2.1 T2V 1.3B transformer, which has no audio input",
    "ccc42284ea13e1ad04693284c7a09be6": "the Wan 2.1 VAE",
    "9c8818c2cbea55eca56c7b447df170da": "the UMT5-XXL text encoder",
}
"""What a file is, by the digest of its tensors' names and shapes."""

_NAMED = 4
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Where the files of a model lie; ``under`` gives the layout of the release and of ``livetalk download``, or that
    of a small model, where its files are there."""

    dit: Path
    text_encoder: Path
    tokenizer: Path
    vae: Path
    speech: Path

    @classmethod
    def flat(cls, root: Path) -> CheckpointFiles:
        """A model of one's own, as `livetalk train assemble` writes it."""
        return cls(
            dit=root / "model.safetensors",
            text_encoder=root / "text_encoder.safetensors",
            tokenizer=root / "tokenizer",
            vae=root / "autoencoder.safetensors",
            speech=root / "speech",
        )

    @classmethod
    def under(cls, root: Path) -> CheckpointFiles:
        """The files in a folder, whose layout is told by the autoencoder's name."""
        own = cls.flat(root)
        if own.vae.exists():
            return own
        wan = root / "Wan2.1-T2V-1.3B"
        return cls(
            dit=root / "LiveTalk-1.3B-V0.1" / "model.safetensors",
            text_encoder=wan / "models_t5_umt5-xxl-enc-bf16.pth",
            tokenizer=wan / "google" / "umt5-xxl",
            vae=wan / "Wan2.1_VAE.pth",
            speech=root / "wav2vec2",
        )

    def missing(self) -> tuple[Path, ...]:
        """Files and folders that are not there; ``require`` refuses to go on without them."""
        return tuple(
            path for path in (self.dit, self.text_encoder, self.tokenizer, self.vae, self.speech) if not path.exists()
        )

    def require(self) -> None:
        """Go on only if all of them are there.

        Raises:
            CheckpointError: with the first that is not, how many more, and what fetches them.
        """
        if missing := self.missing():
            others = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
            raise CheckpointError(
                f"{missing[0]} is not there{others}. `livetalk download` fetches the published files; --checkpoints "
                "names their folder; --size mini, a small model that comes with livetalk, runs without them."
            )


def load_dit(
    path: Path,
    config: DiTConfig | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> CausalDiT:
    """``LiveTalk-1.3B-V0.1/model.safetensors``, stored in float32, bfloat16 or float16.

    Raises:
        CheckpointError: the file is missing, damaged or another model.
    """
    config = config or DiTConfig()
    state = check_dit(path, config, device)
    return CausalDiT.from_state(config, state, dtype=dtype, device=device)


def load_vae(
    path: Path,
    config: VAEConfig | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
) -> WanVAE:
    """``Wan2.1_VAE.pth``.

    Raises:
        CheckpointError: the file is missing, damaged or another model.
    """
    from livetalk.render.vae import WanVAE  # brings diffusers, which takes seconds to import

    config = config or VAEConfig()
    state = check_vae(path, config, device)
    return WanVAE.from_state(config, state, dtype=dtype, device=device, channels_last=channels_last)


def load_text_encoder(
    path: Path,
    tokenizer: Path,
    config: TextConfig | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> TextEncoder:
    """``models_t5_umt5-xxl-enc-bf16.pth`` with the tokenizer folder beside it.

    The file is mapped, not read: on the CPU in the file's own dtype the weights stay on disk until they are used, and
    on a GPU the host never holds more than the page cache.

    Raises:
        CheckpointError: the file or the tokenizer is missing, damaged or another model's.
    """
    config = config or TextConfig()
    state = check_text_encoder(path, config, device)
    return TextEncoder.from_state(config, state, load_tokenizer(tokenizer, config), dtype=dtype, device=device)


def load_tokenizer(folder: Path, config: TextConfig | None = None) -> Any:
    """The tokenizer files of UMT5, read from disk only.

    Raises:
        CheckpointError: the folder is missing or its files are not a tokenizer that fits the encoder.
    """
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise CheckpointError(f"The tokenizer folder {folder} does not exist. Fetch it with `livetalk download`.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The folder {folder} holds no readable tokenizer ({_first_line(error)}).") from error
    vocabulary = (config or TextConfig()).vocab_size
    if len(tokenizer) > vocabulary:
        raise CheckpointError(
            f"The tokenizer in {folder} knows {len(tokenizer)} tokens, the text encoder only {vocabulary}: they do not "
            "belong together."
        )
    return tokenizer


def load_speech_encoder(
    folder: Path,
    config: SpeechConfig | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> SpeechEncoder:
    """A wav2vec2-base folder in the Hugging Face layout (``config.json`` and the weights), with or without its CTC
    head.

    Raises:
        CheckpointError: files are missing or damaged, or the model is of another kind or size.
    """
    config, state = check_speech_encoder(folder, config, device)
    try:
        return SpeechEncoder.from_state(config, state, dtype=dtype, device=device)
    except ValueError as error:
        raise CheckpointError(f"{folder} can't be used: {error}.") from error


def check_dit(path: Path, config: DiTConfig | None = None, device: torch.device | str = "cpu") -> StateFile:
    """Open the transformer's file and check its names and shapes, without reading a tensor."""
    return _checked(path, reference_shapes(config or DiTConfig()), "a LiveTalk transformer", device)


def check_vae(path: Path, config: VAEConfig | None = None, device: torch.device | str = "cpu") -> StateFile:
    """Open the VAE's file and check its names and shapes, without reading a tensor."""
    from livetalk.render import vae as vae_module

    return _checked(path, vae_module.reference_shapes(config or VAEConfig()), "the Wan 2.1 VAE", device)


def check_text_encoder(path: Path, config: TextConfig | None = None, device: torch.device | str = "cpu") -> StateFile:
    """Open the text encoder's file and check its names and shapes, without reading a tensor."""
    return _checked(path, text_module.reference_shapes(config or TextConfig()), "the UMT5 text encoder", device)


def check_speech_encoder(
    folder: Path, wanted: SpeechConfig | None = None, device: torch.device | str = "cpu"
) -> tuple[SpeechConfig, StateFile]:
    """Read a wav2vec2 folder's configuration and check its weights' names and shapes, without reading a tensor.

    The folder describes itself; of ``wanted`` only what the transformer sees, width and depth, must be the same.
    """
    wanted = wanted or SpeechConfig()
    try:
        text = (folder / "config.json").read_text("utf-8")
    except OSError as error:
        raise CheckpointError(f"{folder / 'config.json'} can't be read. Fetch it with `livetalk download`.") from error
    try:
        config = SpeechConfig.from_manifest(json.loads(text))
        expected = speech_module.reference_shapes(config)
        SpeechEncoder(speech_module.empty_model(config))  # refuses what loading would refuse, before a weight is read
    except Exception as error:  # transformers refuses a configuration with errors of many kinds
        raise CheckpointError(f"{folder / 'config.json'} does not describe a wav2vec2 model: {error}.") from error
    if (config.hidden_size, config.num_hidden_layers) != (wanted.hidden_size, wanted.num_hidden_layers):
        raise CheckpointError(
            f"{folder} holds a wav2vec2 of {config.num_hidden_layers} layers of {config.hidden_size} channels, the "
            f"transformer hears one of {wanted.num_hidden_layers} layers of {wanted.hidden_size}. Use the published "
            "wav2vec2-base-960h, which `livetalk download` fetches."
        )
    candidates = [folder / "model.safetensors", folder / "pytorch_model.bin"]
    path = next((candidate for candidate in candidates if candidate.exists()), candidates[0])
    state = open_state(path, device).renamed(speech_module.current_name)
    check(path, state.shapes, expected, "a wav2vec2-base speech encoder")
    return config, state


def _checked(path: Path, expected: Shapes, what: str, device: torch.device | str) -> StateFile:
    state = open_state(path, device)
    check(path, state.shapes, expected, what)
    return state


class StateFile(Mapping[str, Tensor]):
    """Tensors of a file, read when asked for."""

    def __init__(
        self, path: Path, shapes: Shapes, read: Callable[[str], Tensor], names: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self._read = read
        self._names = dict(names or {key: key for key in shapes})
        self.shapes: Shapes = {name: shapes[key] for name, key in self._names.items()}

    def renamed(self, rename: Callable[[str], str | None]) -> StateFile:
        """The same file under other names; tensors whose new name is None are left out."""
        renamed = {rename(name): key for name, key in self._names.items()}
        names = {name: key for name, key in renamed.items() if name is not None}
        return StateFile(self.path, {key: self.shapes[name] for name, key in self._names.items()}, self._read, names)

    def __getitem__(self, name: str) -> Tensor:
        return self._read(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_state(path: Path, device: torch.device | str = "cpu") -> StateFile:
    """Open a safetensors file or a torch pickle (tensors only) without reading its tensors.

    Raises:
        CheckpointError: missing, cut short, of another format, or holding something else than floating-point tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} can't be read ({error.strerror}). `livetalk download` fetches the published files."
        ) from error
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is only a Git LFS pointer. Fetch the file itself, for example with `livetalk download`."
        )
    # A zip archive or a bare pickle; safetensors begin with the length of a JSON header.
    torch_format = head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04"))
    return _open_torch(path) if torch_format else _open_safetensors(path, device)


def _open_safetensors(path: Path, device: torch.device | str) -> StateFile:
    try:
        handle: Any = safe_open(str(path), framework="pt", device=str(device))
        slices = {key: handle.get_slice(key) for key in list(handle.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file: the download may have been cut short ({_first_line(error)}). "
            "Delete it and run `livetalk download` again."
        ) from error
    others = {key: part.get_dtype() for key, part in slices.items() if part.get_dtype() not in ("F32", "BF16", "F16")}
    _refuse_dtypes(path, others)
    return StateFile(path, {key: tuple(part.get_shape()) for key, part in slices.items()}, handle.get_tensor)


def _open_torch(path: Path) -> StateFile:
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            state = torch.load(path, map_location="cpu", weights_only=True)  # written before torch 1.6
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, and unpacking it could run foreign code. Use the published file."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a whole torch file: the download may have been cut short ({_first_line(error)}). "
            "Delete it and run `livetalk download` again."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise CheckpointError(f"{path} is not a plain table of tensors; a training checkpoint must be unpacked first.")
    _refuse_dtypes(path, {key: str(value.dtype) for key, value in state.items() if value.dtype not in _FLOATS})
    return StateFile(path, {key: tuple(value.shape) for key, value in state.items()}, state.__getitem__)


def check(path: Path, found: Shapes, expected: Shapes, what: str) -> None:
    """Compare names and shapes with what the module needs.

    Raises:
        CheckpointError: they differ; the message says what the file is, if known, and names the first few offenders.
    """
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    shapes = [
        f"{key} {list(found[key])} instead of {list(expected[key])}"
        for key in expected
        if key in found and found[key] != expected[key]
    ]
    if not (missing or extra or shapes):
        return
    known = KNOWN_MODELS.get(shape_digest(found))
    parts = [f"It is {known}." if known else _hint(missing, extra)]
    for label, names in (("missing", missing), ("not expected", extra), ("of another shape", shapes)):
        if names:
            more = ", …" if len(names) > _NAMED else ""
            parts.append(f"{len(names)} {label}: {', '.join(names[:_NAMED])}{more}.")
    raise CheckpointError(
        f"{path} is not {what} of the expected dimensions. {' '.join(part for part in parts if part)}"
    )


def _hint(missing: list[str], extra: list[str]) -> str:
    if any("lora_" in key or ".base_layer." in key for key in extra):
        return "It holds LoRA weights that have not been merged; merge them first."
    wanted = set(missing)
    for key in extra:
        prefix, _, rest = key.partition(".")
        if rest in wanted:
            return f"Its names carry the prefix {prefix + '.'!r}; save it without."
    return ""


def _refuse_dtypes(path: Path, others: Mapping[str, str]) -> None:
    if others:
        named = ", ".join(f"{key} ({dtype})" for key, dtype in list(others.items())[:_NAMED])
        raise CheckpointError(
            f"{path} stores {len(others)} tensors in a type this loader does not take, such as {named}. Use float32, "
            "bfloat16 or float16 weights; quantised files are not supported."
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
