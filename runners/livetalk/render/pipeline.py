"""The models of one checkpoint, or of a named size with random weights, and what they need to be told."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from livetalk.render import vae as vae_module
from livetalk.render.checkpoint import CheckpointFiles, load_dit, load_speech_encoder, load_text_encoder, load_vae
from livetalk.render.config import AUTO_ATTENTION, Size
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.encoders.speech import SpeechEncoder
from livetalk.render.encoders.text import TextEncoder
from livetalk.render.model import CausalDiT, random_tensors
from livetalk.render.model import reference_shapes as dit_shapes
from livetalk.render.vae import WanVAE

RANDOM_NOTE = "The weights are random: the picture means nothing."
"""Stands in every clip that random weights made."""


@dataclass(frozen=True, slots=True)
class Models:
    """All networks of one run on one device. The text encoder, the largest, is built for a prompt and given back."""

    dit: CausalDiT
    vae: WanVAE
    speech: SpeechEncoder
    text: Callable[[], TextEncoder]
    weights: str
    """Where they are from, for people."""
    random: bool

    def encode_prompt(self, prompt: str, *, give_back: bool = True) -> Tensor:
        """[1, rows, dim]; the encoder's memory is free again afterwards.

        Args:
            give_back: return it to the device, for other programs. That stops all work there for a moment and takes
                from every thread what it keeps for its next block, so that nobody should be at work.
        """
        encoder = self.text()
        context = encoder(prompt)
        weights = weakref.ref(getattr(encoder, "model", encoder))
        del encoder
        if weights() is not None:  # looking through everything for a cycle takes longer than a small encoder does
            gc.collect()
        if context.is_cuda and give_back:
            torch.cuda.empty_cache()
        return context


def load_models(
    files: CheckpointFiles,
    size: Size,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    text_device: torch.device | str | None = None,
    decode_device: torch.device | str | None = None,
    attention: str = AUTO_ATTENTION,
    dit: CausalDiT | None = None,
) -> Models:
    """The published weights.

    ``text_device`` is where prompts are encoded and ``decode_device`` where the VAE is (a second GPU, if there is one),
    by default where everything else is. ``dit`` is a transformer that stands in for the file's.

    Raises:
        CheckpointError: a file is missing, damaged or another model.
    """
    if dit is None:
        dit = load_dit(files.dit, size.dit, dtype=dtype, device=device)
    return Models(
        dit=dit.use_attention(attention),
        vae=load_vae(files.vae, size.vae, dtype=dtype, device=decode_device or device, channels_last=True),
        speech=load_speech_encoder(files.speech, size.speech, dtype=dtype, device=device),
        text=lambda: load_text_encoder(
            files.text_encoder, files.tokenizer, size.text, dtype=torch.bfloat16, device=text_device or device
        ),
        weights=str(files.dit),
        random=False,
    )


def random_models(
    size: Size,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    decode_device: torch.device | str | None = None,
    attention: str = AUTO_ATTENTION,
    dit: CausalDiT | None = None,
) -> Models:
    """The same networks with random weights: every part runs, the pictures mean nothing.

    Weights are drawn where they are used in ``dtype``, the text encoder's only when a prompt is encoded. ``dit`` is a
    transformer that stands in for the random one.
    """
    decoder = decode_device or device

    def drawn(
        shapes: Mapping[str, tuple[int, ...]], kind: torch.dtype = dtype, place: torch.device | str = device
    ) -> dict[str, Tensor]:
        return random_tensors(shapes, seed=seed, dtype=kind, device=place)

    def text() -> TextEncoder:
        kind = torch.bfloat16  # as the published one is loaded, whatever the others' dtype
        state = drawn(text_module.reference_shapes(size.text), kind)
        return TextEncoder.from_state(size.text, state, ByteTokenizer(), dtype=kind, device=device)

    if dit is None:
        dit = CausalDiT.from_state(size.dit, drawn(dit_shapes(size.dit)), dtype=dtype, device=device)
    return Models(
        dit=dit.use_attention(attention),
        vae=WanVAE.from_state(
            size.vae,
            drawn(vae_module.reference_shapes(size.vae), place=decoder),
            dtype=dtype,
            device=decoder,
            channels_last=True,
        ),
        speech=SpeechEncoder.from_state(
            size.speech, drawn(speech_module.reference_shapes(size.speech)), dtype=dtype, device=device
        ),
        text=text,
        weights=f"random (size {size.name}, weight seed {seed})",
        random=True,
    )


class ByteTokenizer:
    """A tokenizer without files for text encoders with random weights: the bytes of UTF-8, then ``</s>``."""

    _PAD, _END, _FIRST_BYTE = 0, 1, 3

    def __call__(self, texts: list[str], *, max_length: int, **_: Any) -> dict[str, Tensor]:
        """As a transformers tokenizer called with padding to ``max_length`` and truncation."""
        ids = torch.full((len(texts), max_length), self._PAD)
        for row, text in zip(ids, texts, strict=True):
            tokens = [*[self._FIRST_BYTE + byte for byte in text.encode()][: max_length - 1], self._END]
            row[: len(tokens)] = torch.tensor(tokens)
        return {"input_ids": ids, "attention_mask": (ids != self._PAD).long()}
