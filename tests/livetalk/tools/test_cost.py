"""The table of the specification's section 15."""

import pytest
from livetalk.render.config import DiTConfig, StreamConfig, VAEConfig, size
from livetalk.tools.cost import attended_frames, decode_block, dit_block, dit_forward, vae_decode

DIT, VAE, STREAM = DiTConfig(), VAEConfig(), StreamConfig()


@pytest.mark.parametrize(
    ("block", "attended", "forward", "total"),
    [
        (0, 3, 9.72, 48.6),
        (1, 6, 11.46, 57.3),
        (2, 9, 13.20, 66.0),
        (3, 12, 14.94, 74.7),
        (4, 15, 16.68, 83.4),
        (9, 15, 16.68, 83.4),
    ],
)
def test_transformer(block: int, attended: int, forward: float, total: float) -> None:
    assert attended_frames(block, STREAM.window) == attended
    assert dit_forward(DIT, STREAM, attended).total / 1e12 == pytest.approx(forward, abs=0.006)
    assert dit_block(DIT, STREAM, block) / 1e12 == pytest.approx(total, abs=0.06)
    assert dit_block(DIT, STREAM, block, clean_pass=False) == pytest.approx(0.8 * dit_block(DIT, STREAM, block))


def test_parts_of_a_steady_block() -> None:
    forward = dit_forward(DIT, STREAM, 15)
    assert 5 * forward.linear / 1e12 == pytest.approx(38.5, abs=0.06)
    assert 5 * forward.self_attention / 1e12 == pytest.approx(43.5, abs=0.06)
    assert 5 * forward.cross_attention / 1e12 == pytest.approx(1.4, abs=0.06)


def test_window_18() -> None:
    assert dit_block(DIT, StreamConfig(window=18), 6) / 1e12 == pytest.approx(92.1, abs=0.06)


def test_decoder() -> None:
    assert vae_decode(VAE, 64, 64, first=True) / 1e12 == pytest.approx(2.84, abs=0.006)
    assert vae_decode(VAE, 64, 64, first=False) / 1e12 == pytest.approx(8.88, abs=0.006)
    assert decode_block(VAE, STREAM, 0) / 1e12 == pytest.approx(20.6, abs=0.06)
    assert decode_block(VAE, STREAM, 7) / 1e12 == pytest.approx(26.6, abs=0.06)


def test_mid() -> None:
    mid = size("mid")
    forward = dit_forward(mid.dit, mid.stream, 15)
    per_layer = 8 * 2 * 768 * (6 * 512**2 + 2 * 512 * 3072)
    assert 5 * (per_layer + forward.self_attention) / 1e12 == pytest.approx(0.53, abs=0.006)
