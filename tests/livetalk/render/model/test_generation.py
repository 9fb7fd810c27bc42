from collections.abc import Callable
from typing import Any

import pytest
import torch
from known import known
from livetalk.base.errors import SessionError
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.block import BlockGenerator
from livetalk.render.performer import GivenNoise, SeededNoise, generate_latents
from livetalk_published_loop import PublishedLoop
from torch import Tensor


@pytest.mark.parametrize("name", ["ar_full", "ar_sink", "ar_roll"])
def test_clips(
    golden_tensors: Callable[[str], dict[str, Tensor]],
    golden_dit: CausalDiT,
    manifest: dict[str, Any],
    close: Callable[..., None],
    name: str,
) -> None:
    case, settings = golden_tensors(name), manifest["cases"][name]
    stream = StreamConfig(
        settings["latent_hw"][0],
        settings["latent_hw"][1],
        window=settings["local_attn_size"],
        sink=settings["sink_size"],
    )
    trace, snapshots = [], 0

    def observe(generator: BlockGenerator, step: int, x: Tensor, x0: Tensor | None) -> None:
        nonlocal snapshots
        block, cache, n = generator.block, generator.cache, settings["frame_seq_length"]
        trace.append([cache.start * n, cache.end * n, cache.valid_frames * n])
        close(x, case["step_in"][block, step])
        if x0 is not None:
            close(x0, case["step_x0"][block, step])
        when = f"kv_after_block{block}" if x0 is None else f"kv_mid_block{block}_step{step}"
        for key in (key for key in case if key.startswith(f"{when}.k.")):
            layer = int(key.rsplit(".", 1)[1])
            k, v = cache.in_order(layer)
            close(k, case[key])
            close(v, case[f"{when}.v.{layer}"])
            snapshots += 1
        if x0 is None and block == settings["blocks"] - 1:
            close(generator.flow(x, step)[None], case["clean_flow_last"].view(1, *x.shape))

    latents = generate_latents(
        golden_dit,
        noise=case["noise"],
        step_noise=case["step_noise"],
        reference=case["ref_latent"],
        audio=case["audio_cond"],
        context=case["context"],
        stream=stream,
        timesteps=settings["timesteps"],
        observe=observe,
    )
    close(latents, case["latents"])
    assert trace == case["index_trace"].tolist()
    assert snapshots >= len(settings["kv_snapshots_after_block"])


def test_an_unlimited_window_keeps_every_frame(
    golden_tensors: Callable[[str], dict[str, Tensor]],
    golden_dit: CausalDiT,
    manifest: dict[str, Any],
    close: Callable[..., None],
) -> None:
    case, settings = golden_tensors("ar_full"), manifest["cases"]["ar_full"]
    latents = generate_latents(
        golden_dit,
        noise=case["noise"],
        step_noise=case["step_noise"],
        reference=case["ref_latent"],
        audio=case["audio_cond"],
        context=case["context"],
        stream=StreamConfig(settings["latent_hw"][0], settings["latent_hw"][1], window=-1),
        timesteps=settings["timesteps"],
    )
    close(latents, case["latents"])


@pytest.mark.parametrize(
    ("window", "sink"), [(15, 9), (9, 0), (3, 0), (12, 9), (10, 4), (14, 1), (16, 9), (11, 3), (8, 2)]
)
def test_any_window_and_sink_agree_with_the_published_way(
    golden_config: DiTConfig,
    golden_state: dict[str, Tensor],
    published_loop: type[PublishedLoop],
    session: Callable[..., Any],
    run_session: Callable[..., Tensor],
    close: Callable[..., None],
    window: int,
    sink: int,
) -> None:
    given = session(9, window=window, sink=sink)
    loop = published_loop(golden_config, {k: v.float() for k, v in golden_state.items()}, given.stream)
    latents = run_session(given)
    for b, noise in enumerate(given.noise):
        expected = loop.block(
            b,
            noise[0].transpose(0, 1)[None],
            noise[1:].transpose(1, 2)[:, None],
            given.reference,
            given.audio[:, 3 * b : 3 * b + 3, None, None],
            given.context,
        )
        close(latents[b], expected[0].transpose(0, 1))


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_other_numbers_of_steps(session: Callable[..., Any], run_session: Callable[..., Tensor], steps: int) -> None:
    latents = run_session(session(2, steps=steps))
    assert latents.isfinite().all()


def test_the_reference_stays_the_first_frame(session: Callable[..., Any], run_session: Callable[..., Tensor]) -> None:
    given = session(1)
    latents = run_session(given)
    assert torch.equal(latents[0, 0], given.reference[0, :, 0])


def test_seeds_reproduce() -> None:
    def draws(seed: int) -> Tensor:
        source = SeededNoise(seed)
        out = torch.empty(2, 4, 3, 16, 4, 4)
        for b, block in enumerate(out):
            source.draw(b, block)
        return out

    assert torch.equal(draws(5), draws(5))
    assert not torch.equal(draws(5), draws(6))
    assert not torch.equal(*draws(5))


def test_given_noise_that_runs_out_says_so() -> None:
    source = GivenNoise(torch.zeros(1, 3, 16, 4, 4), torch.zeros(1, 3, 3, 16, 4, 4))
    with pytest.raises(SessionError, match="block 1 has none"):
        source.draw(1, torch.empty(4, 3, 16, 4, 4))


def test_a_session_must_be_started(golden_dit: CausalDiT, session: Callable[..., Any]) -> None:
    given = session(1)
    generator = BlockGenerator(golden_dit, given.stream)
    with pytest.raises(SessionError, match="not been started"):
        generator.denoise(given.audio, given.noise[0])
    with pytest.raises(SessionError, match="reference latent"):
        generator.start(given.context, torch.zeros(1, 16, 1, 4, 6))


def test_a_new_session_on_the_same_buffers_is_the_same(golden_dit: CausalDiT, session: Callable[..., Any]) -> None:
    given = session(6)
    generator = BlockGenerator(golden_dit, given.stream)
    runs = []
    for _ in range(2):
        generator.start(given.context, given.reference)
        latents = []
        for b, noise in enumerate(given.noise):
            latents.append(generator.denoise(given.audio[:, 3 * b : 3 * b + 3], noise))
            generator.clean()
        runs.append(torch.stack(latents))
    assert torch.equal(*runs)


def test_a_clean_pass_left_out_is_made_up_for(
    golden_dit: CausalDiT, session: Callable[..., Any], run_session: Callable[..., Tensor]
) -> None:
    given = session(3)
    generator = BlockGenerator(golden_dit, given.stream)
    generator.start(given.context, given.reference)
    latents = [generator.denoise(given.audio[:, 3 * b : 3 * b + 3], noise) for b, noise in enumerate(given.noise)]
    assert torch.equal(torch.stack(latents), run_session(given))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timesteps": [1000.0, 500.0]}, "2 timesteps"),
        ({"graphs": True}, "CUDA graphs"),
    ],
)
def test_wrong_settings_are_refused(golden_dit: CausalDiT, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockGenerator(golden_dit, StreamConfig(4, 4), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 2},
        {"window": 15, "sink": 13},
        {"sink": -1},
        {"position": "relative"},
        {"position": "bounded", "window": 24},
        {"position": "bounded", "window": -1},
        {"steps": 0},
        {"latent_height": 5},
    ],
)
def test_impossible_streams_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        StreamConfig(**settings)


@pytest.mark.parametrize("padding", [0, 1, 2, 5, 8])
def test_padding_rows_are_merged_without_changing_the_numbers(
    golden_dit: CausalDiT,
    session: Callable[..., Any],
    run_session: Callable[..., Tensor],
    close: Callable[..., None],
    padding: int,
) -> None:
    given = session(2)
    given.context[:, 8 - padding :] = 0
    merged = BlockGenerator(golden_dit, given.stream)
    merged.start(given.context, given.reference)
    assert len(known(merged._text).k[0]) == (8 if padding < 2 else 9 - padding)
    whole = BlockGenerator(golden_dit, given.stream)
    whole.start(given.context, given.reference)
    whole._text = golden_dit.embed_text(given.context)
    for b, noise in enumerate(given.noise):
        audio = given.audio[:, 3 * b : 3 * b + 3]
        close(merged.denoise(audio, noise), whole.denoise(audio, noise))
