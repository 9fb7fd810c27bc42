"""Sound that is decoded while its frames are generated, against the sound of all frames decoded at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from livetalk.thinkers.base import Samples
from livetalk.thinkers.omni_codec import SAMPLES_PER_FRAME, CodecStream
from tiny_omni import build_tiny_omni
from transformers import Qwen3OmniMoeForConditionalGeneration

LACKING = 555
"""Samples that the published decoder's shape can't make from the last frame."""

FRAMES = 80
"""More than the 72 that the decoder's attention reaches back."""


@pytest.fixture(scope="module")
def code2wav(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = build_tiny_omni(tmp_path_factory.mktemp("omni"))
    return Qwen3OmniMoeForConditionalGeneration.from_pretrained(folder, local_files_only=True).code2wav


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    return torch.randint(64, (16, FRAMES), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def whole(code2wav: Any, codes: torch.Tensor) -> Samples:
    with torch.inference_mode():
        wave: Samples = code2wav(codes[None])[0, 0].numpy()
    return wave


def pieces(stream: CodecStream, codes: torch.Tensor) -> list[Samples]:
    given = [stream.push(frame) for frame in codes.T]
    return [piece for piece in (*given, stream.finish()) if piece is not None]


@pytest.mark.parametrize(("first", "chunk"), [(4, 8), (1, 1), (3, 7), (4, 25), (200, 8), (99, 1)])
def test_pieces_join_to_the_sound_of_all_frames(
    code2wav: Any, codes: torch.Tensor, whole: Samples, first: int, chunk: int
) -> None:
    joined = np.concatenate(pieces(CodecStream(code2wav, first=first, chunk=chunk), codes))
    assert len(joined) == len(whole) == FRAMES * SAMPLES_PER_FRAME - LACKING
    assert np.abs(joined - whole).max() < 1e-4 * np.abs(whole).max()


def test_pieces_are_as_long_as_their_frames(code2wav: Any, codes: torch.Tensor) -> None:
    lengths = [len(piece) for piece in pieces(CodecStream(code2wav, first=4, chunk=8), codes[:, :22])]
    assert lengths == [4 * SAMPLES_PER_FRAME - LACKING, 8 * SAMPLES_PER_FRAME, 8 * SAMPLES_PER_FRAME, 2 * 1920]


def test_nothing_is_left_after_a_whole_piece(code2wav: Any, codes: torch.Tensor) -> None:
    stream = CodecStream(code2wav, first=2, chunk=2)
    assert stream.push(codes[:, 0]) is None
    assert stream.push(codes[:, 1]) is not None
    assert stream.finish() is None


def test_chunks_one_after_the_other_lose_sound_and_click(code2wav: Any, codes: torch.Tensor, whole: Samples) -> None:
    """What the stream is there for: without it the same chunks are shorter and do not fit to one another."""
    with torch.inference_mode():
        naive = np.concatenate([code2wav(part[None])[0, 0].numpy() for part in codes.split(10, dim=1)])
    assert len(whole) - len(naive) == (FRAMES // 10 - 1) * LACKING
    joined = np.concatenate(pieces(CodecStream(code2wav, first=10, chunk=10), codes))
    border = 10 * SAMPLES_PER_FRAME - LACKING
    assert np.abs(naive[border:] - whole[border : len(naive)]).max() > 0.1 * np.abs(whole).max()
    assert np.abs(joined - whole).max() < 1e-4 * np.abs(whole).max()


def test_default_context_covers_all_that_the_convolutions_reach(
    code2wav: Any, codes: torch.Tensor, whole: Samples
) -> None:
    def error(context: int) -> float:
        stream = CodecStream(code2wav, first=4, chunk=4, context=context)
        return float(np.abs(np.concatenate(pieces(stream, codes)) - whole).max() / np.abs(whole).max())

    assert error(2) > 1e-2
    assert error(6) < 1e-4


def test_state_does_not_grow_with_the_answer(code2wav: Any, codes: torch.Tensor) -> None:
    stream = CodecStream(code2wav, first=4, chunk=8)
    for frame in codes.T.repeat(3, 1):
        stream.push(frame)
    layers: Any = stream._cache.layers
    assert all(layer.keys.shape[-2] < code2wav.config.sliding_window for layer in layers)
    assert stream._states is not None and stream._states.shape[1] == 8


@pytest.mark.parametrize("wrong", [{"first": 0}, {"chunk": 0}, {"context": 0}])
def test_pieces_without_frames_are_refused(code2wav: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        CodecStream(code2wav, **{"first": 4, "chunk": 8} | wrong)
