"""Speech features, whole and streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from livetalk.base.errors import AudioError
from livetalk.render.config import SIZES, block_frames
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders.speech import LOUDNESS_SECONDS, Loudness, SpeechEncoder, SpeechStream
from livetalk.tools.parity import Fixtures
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Wav2Vec2Config, Wav2Vec2Model

Voice = Callable[[float], np.ndarray]


def by_blocks(stream: SpeechStream, samples: np.ndarray, blocks: int, piece: int) -> torch.Tensor:
    fed, parts = 0, []
    for block in range(blocks):
        first, last = block_frames(block)
        while not stream.ready(first, last):
            if fed < len(samples):
                stream.push(samples[fed : fed + piece])
                fed += piece
            else:
                stream.close()
        parts.append(stream.features(first, last))
    return torch.cat(parts)


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).square().mean() / (expected - expected.mean(0)).square().mean()).sqrt().item()


def test_the_whole_clip_agrees_with_transformers(speech: SpeechEncoder, voice: Voice) -> None:
    # Where there are as many frames as front-end steps nothing is resampled, and the library's own forward is an
    # oracle.
    samples = speech.normalised(voice(0.5))
    steps = speech.front_end(samples)
    ours = speech.hidden_states(speech.resampled(steps, steps.shape[-1]))
    with torch.inference_mode():
        theirs = speech.model(torch.from_numpy(samples)[None], output_hidden_states=True)
    expected = torch.cat([theirs.last_hidden_state, *theirs.hidden_states], dim=-1)[0]
    assert ours.shape == (steps.shape[-1], speech.channels)
    assert torch.allclose(ours, expected, atol=2e-6)


def test_whole_clip_cuts_and_stretches(speech: SpeechEncoder, voice: Voice) -> None:
    samples = voice(2.5)
    assert torch.equal(speech.whole_clip(samples, 9), speech.whole_clip(samples[:32_000], 9))
    assert speech.whole_clip(samples[:9_000], 9).shape == (33, speech.channels)


def test_a_single_latent_frame(speech: SpeechEncoder, voice: Voice) -> None:
    assert speech.whole_clip(voice(0.1), 1).shape == (1, speech.channels)


@pytest.mark.parametrize("count", [0, 1, 399])
def test_less_than_one_step_is_refused(speech: SpeechEncoder, count: int) -> None:
    with pytest.raises(AudioError, match="at least 400"):
        speech.whole_clip(np.zeros(count, np.float32), 3)


def test_silence_is_finite(speech: SpeechEncoder) -> None:
    assert torch.isfinite(speech.whole_clip(np.zeros(8_000, np.float32), 3)).all()
    stream = SpeechStream(speech)
    stream.close()
    assert torch.isfinite(stream.features(0, 8)).all()


def test_other_kinds_of_wav2vec2_are_refused() -> None:
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, do_stable_layer_norm=True,
        conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
    )  # fmt: skip
    with pytest.raises(ValueError, match="wav2vec2-base's kind"):
        SpeechEncoder(Wav2Vec2Model(config))


def test_pieces_do_not_matter(speech: SpeechEncoder, voice: Voice) -> None:
    samples = voice(4.0)
    whole = by_blocks(SpeechStream(speech, 32, 4), samples, 6, len(samples))
    for piece in (160, 1_111, 16_000):
        assert torch.equal(by_blocks(SpeechStream(speech, 32, 4), samples, 6, piece), whole)


def test_unlimited_windows_are_the_whole_clip(speech: SpeechEncoder, voice: Voice) -> None:
    """With all context, and the whole clip's loudness known, only the time grid is left to differ."""
    samples = voice(6.0)
    samples = np.concatenate([samples, samples])
    stream = SpeechStream(speech, 1000, 1000)
    stream.push(samples)
    stream.close()
    streamed = stream.features(0, 191)
    steps = speech.front_end(speech.normalised(samples))
    position = torch.arange(180, dtype=torch.float64) * 3.125
    lower = position.floor().long()
    frames = torch.lerp(steps[..., lower], steps[..., lower + 1], (position - lower).float())
    # The transformer sees 12 frames more in the stream, so compare before it.
    window = stream._statistics.front_end(samples)
    placed = torch.lerp(window[..., lower], window[..., lower + 1], (position - lower).float())
    assert torch.allclose(placed, frames, atol=1e-4)
    assert streamed.shape == (192, speech.channels)


def test_more_context_is_nearer_to_the_whole_clip(speech: SpeechEncoder, voice: Voice) -> None:
    samples = voice(10.0)
    unlimited = SpeechStream(speech, 1000, 1000)
    unlimited.push(samples)
    unlimited.close()
    expected = unlimited.features(0, 128)[57:]
    errors = [
        relative(by_blocks(SpeechStream(speech, left, right), samples, 11, 16_000)[57:], expected)
        for left, right in ((0, 0), (8, 2), (64, 8), (1000, 24))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_ready_to_the_sample(speech: SpeechEncoder, voice: Voice) -> None:
    stream = SpeechStream(speech, 16, 4)
    # Frame 12 lies at step 37.5: the step after it ends at sample 38 * 320 + 400.
    stream.push(voice(1.0)[: 38 * 320 + 399])
    assert not stream.ready(0, 8)
    with pytest.raises(RuntimeError, match="need 1 more samples"):
        stream.features(0, 8)
    stream.push(voice(1.0)[:1])
    assert stream.ready(0, 8)
    assert stream.features(0, 8).shape == (9, speech.channels)


def test_the_future_beyond_the_look_ahead_does_not_matter(speech: SpeechEncoder, voice: Voice) -> None:
    samples, other = voice(3.0), voice(3.0).copy()
    other[13_000:] *= -0.3
    results = []
    for content in (samples, other):
        stream = SpeechStream(speech, 16, 4)
        stream.push(content)
        results.append(stream.features(0, 8))
    assert torch.equal(*results)


def test_closing_completes_with_silence(speech: SpeechEncoder, voice: Voice) -> None:
    stream = SpeechStream(speech, 16, 4)
    stream.push(voice(0.3))
    assert not stream.ready(0, 8)
    stream.close()
    assert stream.ready(0, 8)
    tail = stream.features(0, 8)
    assert torch.isfinite(tail).all()
    assert stream.features(9, 20).shape == (12, speech.channels)
    with pytest.raises(RuntimeError, match="closed"):
        stream.push(voice(0.1))


def test_closing_does_not_change_what_was_ready(speech: SpeechEncoder, voice: Voice) -> None:
    open_stream, closed = SpeechStream(speech, 16, 4), SpeechStream(speech, 16, 4)
    for stream in (open_stream, closed):
        stream.push(voice(2.0))
    closed.close()
    assert torch.equal(open_stream.features(0, 8), closed.features(0, 8))


@pytest.mark.parametrize("count", [0, 1, 9, 399])
def test_hardly_any_audio(speech: SpeechEncoder, count: int) -> None:
    stream = SpeechStream(speech)
    stream.push(np.full(count, 0.5, np.float32))
    stream.close()
    assert torch.isfinite(stream.features(0, 8)).all()


def test_requests_move_forward(speech: SpeechEncoder, voice: Voice) -> None:
    stream = SpeechStream(speech, 4, 2)
    stream.push(voice(5.0))
    again = stream.features(21, 32)
    assert torch.equal(stream.features(21, 32), again)
    with pytest.raises(ValueError, match="move forward"):
        stream.features(0, 8)
    with pytest.raises(ValueError, match="no longer kept"):
        stream.features(0, 40)
    with pytest.raises(ValueError, match="not a range"):
        stream.ready(9, 8)


def test_a_late_first_request_is_the_same_as_all_of_them(speech: SpeechEncoder, voice: Voice) -> None:
    """A window that begins beyond what has been counted so far still lies at its own samples."""
    samples = voice(5.0)
    stream = SpeechStream(speech, 4, 2)
    stream.push(samples)
    late = stream.features(21, 32)
    assert torch.equal(late, by_blocks(SpeechStream(speech, 4, 2), samples, 3, 16_000)[21:33])


def test_bad_samples_are_refused(speech: SpeechEncoder) -> None:
    stream = SpeechStream(speech)
    with pytest.raises(AudioError, match="not numbers"):
        stream.push(np.array([0.0, np.inf], np.float32))
    with pytest.raises(ValueError, match="mono"):
        stream.push(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="negative"):
        SpeechStream(speech, -1, 0)


def test_a_long_stream_keeps_only_its_window(speech: SpeechEncoder, voice: Voice) -> None:
    stream, second = SpeechStream(speech, 32, 4), voice(0.75)
    stream.push(voice(1.0))
    kept = []
    for block in range(60):
        first, last = block_frames(block)
        stream.push(second)
        assert torch.isfinite(stream.features(first, last)).all()
        kept.append(len(stream._samples))
    assert max(kept[10:]) <= (32 + 12 + 4) * 1000 + 2 * 12_000
    assert len(stream._arrived) <= 1


def test_running_statistics_are_those_of_all_that_was_heard(speech: SpeechEncoder, voice: Voice) -> None:
    samples = voice(3.0) + 0.1
    stream = SpeechStream(speech, 8, 4)
    by_blocks(stream, samples, 3, 777)
    loudness = stream.loudness
    heard = samples[: int(loudness.count)].astype(np.float64)
    assert loudness.total / loudness.count == pytest.approx(heard.mean(), rel=1e-6)
    assert loudness.square / loudness.count == pytest.approx(np.square(heard).mean(), rel=1e-6)
    weight = speech.model.feature_extractor.conv_layers[0].conv.weight
    steps = torch.nn.functional.conv1d(torch.from_numpy(heard).float()[None, None], weight, stride=5)[0].double()
    assert loudness.steps == steps.shape[1]
    assert torch.allclose(loudness.step_total, steps.sum(1), rtol=1e-5, atol=1e-4)
    assert torch.allclose(loudness.step_square, steps.square().sum(1), rtol=1e-5)


def test_a_voice_is_known_from_one_utterance_to_the_next(speech: SpeechEncoder, voice: Voice) -> None:
    # Two utterances of one voice; the second begins far more softly than it goes on.
    earlier, later = SpeechStream(speech), SpeechStream(speech)
    second = voice(3.0)
    second[:12_000] *= 0.03
    by_blocks(earlier, voice(3.0), 3, 1000)
    by_blocks(later, second, 3, 1000)

    def first_block(known: Loudness | None) -> torch.Tensor:
        return by_blocks(SpeechStream(speech, voice=known), second, 1, 1000)

    expected = first_block(later.loudness)  # as if all of it had been heard
    assert relative(first_block(earlier.loudness), expected) < 0.5 * relative(first_block(None), expected)


def test_what_is_known_of_a_voice_weighs_no_more_than_it_may(speech: SpeechEncoder, voice: Voice) -> None:
    stream = SpeechStream(speech)
    by_blocks(stream, voice(6.0), 6, 1000)
    before = stream.loudness
    after = SpeechStream(speech, voice=before).loudness
    assert after.count == pytest.approx(LOUDNESS_SECONDS * 16_000) and after.count < before.count
    assert after.total / after.count == pytest.approx(before.total / before.count)
    assert torch.allclose(after.step_square / after.steps, before.step_square / before.steps)


def test_bfloat16_runs(golden: Fixtures, voice: Voice) -> None:
    config, state = golden.weights("wav2vec2")
    from livetalk.render.config import SpeechConfig
    from livetalk.render.encoders.speech import current_name

    encoder = SpeechEncoder.from_state(
        SpeechConfig.from_manifest(config), state.renamed(current_name), dtype=torch.bfloat16
    )
    samples = voice(2.0)
    half, full = encoder.whole_clip(samples, 9).float(), golden.speech.whole_clip(samples, 9)
    assert relative(half, full) < 0.1
    stream = SpeechStream(encoder, 16, 4)
    stream.push(samples)
    assert stream.features(0, 8).dtype == torch.bfloat16


class Transfers(TorchDispatchMode):
    """Counts operations that bring something from the host to where the model is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        there = isinstance(out, torch.Tensor) and out.device.type == "meta"
        self.count += there and any(one.device.type == "cpu" for one in given)
        return out


def test_a_window_takes_two_transfers_to_the_device(voice: Voice) -> None:
    """The samples, and what is known of the voice; where frames lie between steps is there from windows before."""
    model = speech_module.empty_model(SIZES["tiny"].speech).to_empty(device="cpu")
    encoder = SpeechEncoder(model)
    stream = SpeechStream(encoder)
    model.to(device=torch.device("meta"))  # type: ignore[call-arg]
    encoder.device = torch.device("meta")
    stream.push(voice(16.0))
    counts = []
    for block in range(18):
        with Transfers() as transfers:
            assert stream.features(*block_frames(block)).device.type == "meta"
        counts.append(transfers.count)
    assert counts[0] == 5 and counts[8:] == [2] * 10
