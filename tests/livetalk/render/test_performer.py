import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from emulated_graph import Captures, emulated_graphs
from livetalk.base.errors import SessionError
from livetalk.render import vae as vae_module
from livetalk.render.config import ROPE_FRAMES, DiTConfig, StreamConfig, VAEConfig, block_frames
from livetalk.render.model import CausalDiT, random_tensors
from livetalk.render.model import block as block_module
from livetalk.render.model.audio import lead_in
from livetalk.render.model.graphs import CudaRecorder
from livetalk.render.performer import (
    FrameBlock,
    GivenNoise,
    NoiseSource,
    Performer,
    SeededNoise,
    generate_latents,
    split_features,
)
from livetalk.render.vae import VAEStream, WanVAE
from torch import Tensor

STREAM = StreamConfig(4, 4, steps=2)
BLOCKS = 7


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    config = VAEConfig(dim=4, dim_mult=(1, 1, 1, 1), num_res_blocks=0)
    return WanVAE.from_state(config, random_tensors(vae_module.reference_shapes(config)), channels_last=True)


@pytest.fixture(scope="module")
def clip(golden_config: DiTConfig) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "context": torch.randn(1, 8, golden_config.text_dim, generator=draw),
        "reference": torch.randn(1, 16, 1, 4, 4, generator=draw),
        "features": torch.randn(12 * BLOCKS - 3, golden_config.audio_feat_dim, generator=draw),
        "noise": torch.randn(1, 3 * BLOCKS, 16, 4, 4, generator=draw),
        "step_noise": torch.randn(BLOCKS, STREAM.steps - 1, 3, 16, 4, 4, generator=draw),
    }


@pytest.fixture(scope="module")
def performer(golden_dit: CausalDiT, vae: WanVAE, clip: dict[str, Tensor]) -> Callable[..., Performer]:
    def make(overlap: bool = True, noise: NoiseSource | None = None, **settings: Any) -> Performer:
        performer = Performer(golden_dit, vae.decoder_stream(), replace(STREAM, **settings), overlap=overlap)
        noise = noise or GivenNoise(clip["noise"], clip["step_noise"])
        performer.start(clip["context"], clip["reference"], noise)
        return performer

    return make


@pytest.fixture(scope="module")
def sessions(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> dict[bool, list[FrameBlock]]:
    """The whole clip, with and without overlap."""
    return {overlap: list(performer(overlap).blocks(split_features(clip["features"]))) for overlap in (True, False)}


@pytest.fixture(scope="module")
def whole(sessions: dict[bool, list[FrameBlock]]) -> list[FrameBlock]:
    """The whole clip: what part of it comes in another way must be."""
    return sessions[True]


@pytest.fixture(scope="module")
def at_once(golden_dit: CausalDiT, clip: dict[str, Tensor]) -> Tensor:
    """Its latents, generated in one go."""
    return generate_latents(
        golden_dit,
        noise=clip["noise"],
        step_noise=clip["step_noise"],
        reference=clip["reference"],
        audio=golden_dit.embed_audio(lead_in(clip["features"])),
        context=clip["context"],
        stream=STREAM,
    )


class Listener:
    """Stands in for a speech stream: the features are the clip's, ready once their samples and a look-ahead are in."""

    def __init__(self, features: Tensor, look_ahead: int = 2) -> None:
        self.rows, self.look_ahead = features, look_ahead
        self.samples, self.closed = 0, False

    def push(self, samples: npt.NDArray[np.float32]) -> None:
        assert not self.closed
        self.samples += len(samples)

    def close(self) -> None:
        self.closed = True

    def ready(self, first: int, last: int) -> bool:
        return self.closed or self.samples >= (last + 1 + self.look_ahead) * 1000

    def features(self, first: int, last: int) -> Tensor:
        assert self.ready(first, last)
        return self.rows[first : last + 1]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_session_equals_one_shot_generation(
    sessions: dict[bool, list[FrameBlock]], at_once: Tensor, vae: WanVAE, overlap: bool
) -> None:
    blocks = sessions[overlap]
    torch.testing.assert_close(torch.cat([block.latents for block in blocks])[None], at_once, atol=2e-5, rtol=0)
    assert torch.equal(
        torch.cat([block.frames for block in blocks]),
        vae.decode(torch.cat([block.latents for block in blocks]).transpose(0, 1)[None]),
    )


def test_blocks_follow_the_clock_of_the_video(whole: list[FrameBlock]) -> None:
    assert [block.index for block in whole] == list(range(BLOCKS))
    assert [block.first_frame for block in whole] == [block_frames(b)[0] for b in range(BLOCKS)]
    assert [tuple(block.frames.shape) for block in whole] == [(9, 32, 32, 3)] + [(12, 32, 32, 3)] * (BLOCKS - 1)
    assert all(block.frames.dtype == torch.uint8 for block in whole)
    assert all(block.seconds > 0 for block in whole)


def test_overlap_changes_nothing(sessions: dict[bool, list[FrameBlock]]) -> None:
    overlapped, plain = (torch.cat([block.frames for block in sessions[overlap]]) for overlap in (True, False))
    assert torch.equal(overlapped, plain)


def test_frames_come_before_the_clean_pass(
    performer: Callable[..., Performer], clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = performer(overlap=False)
    order: list[int | str] = []
    clean = subject.generator.clean

    def noting() -> None:
        order.append("clean")
        clean()

    monkeypatch.setattr(subject.generator, "clean", noting)
    order.extend(block.index for block in subject.blocks(split_features(clip["features"][:21])))
    assert order == [0, "clean", 1, "clean"]


def test_the_clean_pass_and_the_next_block_run_while_a_block_is_decoded(
    performer: Callable[..., Performer], clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = performer()
    cleaned, decode = threading.Event(), subject.decoder.decode
    clean = subject.generator.clean

    def marked() -> None:
        clean()
        cleaned.set()

    def held(latents: Tensor) -> Tensor:
        assert cleaned.wait(30), "the clean pass waits for the decoder"
        return decode(latents)

    monkeypatch.setattr(subject.generator, "clean", marked)
    monkeypatch.setattr(subject.decoder, "decode", held)
    assert len(list(subject.blocks(split_features(clip["features"][:21])))) == 2


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_come_as_soon_as_their_audio_has(
    performer: Callable[..., Performer], clip: dict[str, Tensor], overlap: bool
) -> None:
    """Block 0 needs 9 frames of audio and the look-ahead: it must come while the speaker is still silent after that."""
    taken = []
    delivered = threading.Event()

    def speaker() -> Iterator[npt.NDArray[np.float32]]:
        for chunk in range(4):
            if chunk == 3:  # 12 frames are in, enough for block 0 and not for block 1
                assert delivered.wait(30), "block 0 was not delivered"
            taken.append(chunk)
            yield np.zeros(4000, np.float32)

    frames = performer(overlap).perform(speaker(), Listener(clip["features"])) if overlap else None
    if frames is None:
        subject = performer(overlap).perform(speaker(), Listener(clip["features"]))
        first = next(subject)
        assert taken == [0, 1, 2]
        delivered.set()
        assert [first.index, *(block.index for block in subject)] == [0, 1]
    else:
        indices = []
        for block in frames:
            indices.append(block.index)
            delivered.set()
        assert indices == [0, 1]


@pytest.mark.parametrize(
    ("samples", "blocks"), [(0, 0), (1, 1), (9000, 1), (9001, 2), (21_000, 2), (21_001, 3), (33_000, 3)]
)
def test_every_sample_is_shown_and_nothing_more(
    performer: Callable[..., Performer], clip: dict[str, Tensor], samples: int, blocks: int
) -> None:
    chunks = [np.zeros(n, np.float32) for n in (samples // 2, samples - samples // 2)]
    assert len(list(performer().perform(chunks, Listener(clip["features"])))) == blocks


def test_how_the_audio_is_cut_does_not_matter(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> None:
    def frames(size: int) -> Tensor:
        chunks = (np.zeros(size, np.float32) for _ in range(30_000 // size))
        return torch.cat([block.frames for block in performer().perform(chunks, Listener(clip["features"]))])

    assert torch.equal(frames(300), frames(15_000))


def test_a_second_utterance_goes_on_where_the_first_ended(
    performer: Callable[..., Performer], clip: dict[str, Tensor], whole: list[FrameBlock]
) -> None:
    subject = performer()
    first = list(subject.perform([np.zeros(21_000, np.float32)], Listener(clip["features"])))
    second = list(subject.perform([np.zeros(12_000, np.float32)], Listener(clip["features"][21:])))
    assert [block.index for block in first + second] == [0, 1, 2]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(whole[:3], first + second, strict=True))


def test_a_restart_forgets_the_session(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> None:
    subject = performer(noise=SeededNoise(3))
    first = list(subject.blocks(split_features(clip["features"][:21])))
    subject.start(clip["context"], clip["reference"], SeededNoise(3))
    again = list(subject.blocks(split_features(clip["features"][:21])))
    subject.start(clip["context"], clip["reference"], SeededNoise(4))
    other = list(subject.blocks(split_features(clip["features"][:21])))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1].latents, other[1].latents)


def test_warming_up_leaves_no_trace(
    performer: Callable[..., Performer], clip: dict[str, Tensor], whole: list[FrameBlock]
) -> None:
    subject = performer()
    assert same_frames(list(subject.blocks(split_features(clip["features"][:9]))), whole[:1])
    subject.warm_up()
    subject.start(clip["context"], clip["reference"], GivenNoise(clip["noise"], clip["step_noise"]))
    assert torch.equal(next(iter(subject.blocks(split_features(clip["features"][:9])))).frames, whole[0].frames)


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_in_the_audio_reaches_the_caller(
    performer: Callable[..., Performer], clip: dict[str, Tensor], overlap: bool
) -> None:
    def speaker() -> Iterator[npt.NDArray[np.float32]]:
        yield np.zeros(12_000, np.float32)
        raise OSError("the microphone is gone")

    blocks = performer(overlap).perform(speaker(), Listener(clip["features"]))
    assert next(blocks).index == 0
    with pytest.raises(OSError, match="microphone"):
        list(blocks)


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_in_the_decoder_reaches_the_caller(
    performer: Callable[..., Performer], clip: dict[str, Tensor], overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = performer(overlap)

    def broken(latents: Tensor) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(subject.decoder, "decode", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(subject.blocks(split_features(clip["features"])))


def test_features_of_the_wrong_length_are_refused(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> None:
    with pytest.raises(SessionError, match="needs the features of 9 video frames; 12 came"):
        list(performer().blocks([clip["features"][:12]]))
    with pytest.raises(ValueError, match="whole number of blocks"):
        list(split_features(clip["features"][:20]))


def test_a_session_must_be_started(golden_dit: CausalDiT, vae: WanVAE) -> None:
    with pytest.raises(SessionError, match="not been started"):
        Performer(golden_dit, vae.decoder_stream(), STREAM).blocks([])


def test_threads_end_with_the_iterator(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> None:
    blocks = performer().blocks(split_features(clip["features"]))
    next(blocks)
    blocks.close()
    assert not lanes()


def lanes() -> set[threading.Thread]:
    """Threads of performers."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("livetalk-")}


@pytest.mark.parametrize("overlap", [True, False])
def test_a_performer_on_a_gpu_keeps_its_threads_to_its_end(
    golden_dit: CausalDiT, vae: WanVAE, clip: dict[str, Tensor], overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There what was planned for a thread is lost with it."""
    subject = Performer(golden_dit, vae.decoder_stream(), STREAM, overlap=overlap, keep_threads=True)
    used = set()

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            used.add(threading.current_thread())
            return work(*given)

        return noted

    monkeypatch.setattr(subject.decoder, "decode", noting(subject.decoder.decode))
    monkeypatch.setattr(subject.generator, "denoise", noting(subject.generator.denoise))
    monkeypatch.setattr(subject.generator, "start", noting(subject.generator.start))
    subject.warm_up(blocks=1)
    for begin in (0, 1):
        subject.start(clip["context"], clip["reference"], GivenNoise(clip["noise"], clip["step_noise"]))
        blocks = subject.blocks(split_features(clip["features"]))
        seen = [next(blocks) for _ in range(begin + 1)]
        blocks.close()
        assert [block.index for block in seen] == list(range(begin + 1))
    kept = lanes()
    assert len(kept) == 3 and len(used) == 2 and used < kept  # the third listens
    del subject, blocks, seen
    gc.collect()
    for thread in kept:
        thread.join(30)
    assert not lanes()


def test_warming_up_overlaps_nothing(
    performer: Callable[..., Performer], clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler waits for the whole device, and another thread may be capturing."""
    subject = performer(overlap=True)
    busy = threading.Lock()
    stages = []

    def alone(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def stage(*given: Any) -> Any:
            assert busy.acquire(blocking=False), f"{name} overlaps another stage"
            try:
                stages.append(name)
                return work(*given)
            finally:
                busy.release()

        return stage

    monkeypatch.setattr(subject.generator, "denoise", alone("denoise", subject.generator.denoise))
    monkeypatch.setattr(subject.generator, "clean", alone("clean", subject.generator.clean))
    monkeypatch.setattr(subject.decoder, "decode", alone("decode", subject.decoder.decode))
    subject.warm_up(Listener(torch.zeros_like(clip["features"])))
    assert stages == ["denoise", "decode", "clean"] * 7  # five lengths of the window, and two more


@pytest.mark.parametrize(("count", "left_out"), [(110, 240), pytest.param(600, 0, marks=pytest.mark.soak)])
def test_bounded_blocks_stay_finite_do_not_drift_and_take_no_more_memory(
    performer: Callable[..., Performer],
    clip: dict[str, Tensor],
    live_bytes: Callable[[], int],
    count: int,
    left_out: int,
) -> None:
    """To beyond the last absolute position, network and decoder: the latents neither blow up nor fade, and nothing is
    kept. The short run leaves out as many blocks as take the ring round by whole turns."""
    subject = performer(overlap=False, noise=SeededNoise(0), position="bounded", steps=1)
    features = (clip["features"][:9] if b == 0 else clip["features"][9:21] for b in range(count))
    held, spread = {}, []
    cache = subject.generator.cache
    for block in subject.blocks(features):
        if block.index == count // 2:
            assert 3 * left_out % (STREAM.window - STREAM.sink) == 0
            cache.start, cache.end, cache._shift = (n + 3 * left_out for n in (cache.start, cache.end, cache._shift))
        assert block.latents.isfinite().all(), f"block {block.index}"
        spread.append(block.latents.std().item())
        if block.index in (20, count // 2, count - 1):
            held[block.index] = live_bytes()
    assert cache.end == 3 * (count + left_out) > ROPE_FRAMES and cache.valid_frames == 15
    assert len(held) == 3 and len(set(held.values())) == 1
    early, late = np.mean(spread[10:60]), np.mean(spread[-50:])
    assert abs(late - early) < 0.05 * early


def test_absolute_positions_end_in_an_error(performer: Callable[..., Performer], clip: dict[str, Tensor]) -> None:
    subject = performer(steps=1, noise=SeededNoise(0))
    subject.generator.cache.end = 1020
    rows = clip["features"][:9]
    with pytest.raises(SessionError, match="1024"):
        list(subject.blocks([rows, clip["features"][9:21]]))


class Chunks:
    """Audio that is handed out chunk by chunk and can be waited for; it blocks where a speaker pauses."""

    def __init__(self, count: int, size: int = 3000) -> None:
        self.left, self.size = count, size
        self.goes_on = threading.Event()

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return self

    def __next__(self) -> npt.NDArray[np.float32]:
        if self.left == 0:
            assert self.goes_on.wait(30), "the performer still waits for audio"
            raise StopIteration
        self.left -= 1
        return np.zeros(self.size, np.float32)


def same_frames(blocks: list[FrameBlock], expected: list[FrameBlock]) -> bool:
    return len(blocks) == len(expected) and all(
        a.index == b.index and torch.equal(a.frames, b.frames) for a, b in zip(blocks, expected, strict=True)
    )


def rows(clip: dict[str, Tensor], begin: int) -> list[Tensor]:
    """Features of the clip's blocks from one on."""
    return [clip["features"][first : last + 1] for first, last in map(block_frames, range(begin, BLOCKS))]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_session_goes_on_after_a_performance_was_left(
    performer: Callable[..., Performer],
    clip: dict[str, Tensor],
    whole: list[FrameBlock],
    overlap: bool,
    taken: int,
) -> None:
    """Whatever was under way is finished for nobody: what comes next is as if it had been shown."""
    subject = performer(overlap)
    left = subject.blocks(split_features(clip["features"]))
    seen = [next(left) for _ in range(taken)]
    left.close()
    begun = subject.next_block
    assert taken <= begun <= taken + 1, "no block is begun once nobody looks"
    rest = list(
        subject.blocks(clip["features"][first : last + 1] for first, last in map(block_frames, range(begun, 7)))
    )
    assert same_frames(seen + rest, whole[:taken] + whole[begun:])


@pytest.mark.parametrize("overlap", [True, False])
def test_a_stop_lets_the_block_in_work_be_the_last(
    performer: Callable[..., Performer], clip: dict[str, Tensor], whole: list[FrameBlock], overlap: bool
) -> None:
    subject, stop = performer(overlap), threading.Event()
    seen = []
    for block in subject.perform([np.zeros(80_000, np.float32)], Listener(clip["features"]), stop=stop):
        seen.append(block)
        stop.set()
    assert 1 <= len(seen) <= 2
    assert same_frames(seen + list(subject.blocks(rows(clip, len(seen)))), whole)


def test_a_stop_before_the_first_block_renders_nothing(
    performer: Callable[..., Performer], clip: dict[str, Tensor]
) -> None:
    subject, stop = performer(), threading.Event()
    stop.set()
    assert list(subject.perform([np.zeros(9000, np.float32)], Listener(clip["features"]), stop=stop)) == []
    assert subject.next_block == 0


def test_a_stopped_performance_does_not_wait_for_a_speaker_who_was_told(
    performer: Callable[..., Performer], clip: dict[str, Tensor]
) -> None:
    subject, stop, audio = performer(), threading.Event(), Chunks(4)
    blocks = subject.perform(audio, Listener(clip["features"]), stop=stop)
    assert next(blocks).index == 0  # the next one lacks its audio
    stop.set()
    audio.goes_on.set()
    assert list(blocks) == [] and subject.next_block == 1


class Door:
    """A gate that notes who passes; `before` is called while the stage waits."""

    def __init__(self, before: Callable[[str, int], None] = lambda stage, block: None) -> None:
        self.passed: list[tuple[str, int]] = []
        self.before = before
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, stage: str, block: int) -> Iterator[None]:
        self.before(stage, block)
        with self._lock:
            self.passed.append((stage, block))
            yield


@pytest.mark.parametrize("overlap", [True, False])
def test_every_stage_passes_the_gate(
    performer: Callable[..., Performer], clip: dict[str, Tensor], whole: list[FrameBlock], overlap: bool
) -> None:
    door = Door()
    assert same_frames(list(performer(overlap).blocks(split_features(clip["features"][:33]), gate=door)), whole[:3])
    assert sorted(door.passed) == sorted((stage, b) for stage in ("denoise", "clean", "decode") for b in range(3))
    rendered = [entry for entry in door.passed if entry[0] != "decode"]
    assert rendered == [(stage, b) for b in range(3) for stage in ("denoise", "clean")]


def test_a_block_that_was_stopped_at_the_gate_is_not_begun(
    performer: Callable[..., Performer], clip: dict[str, Tensor]
) -> None:
    stop = threading.Event()

    def someone_else_is_first(stage: str, block: int) -> None:
        if (stage, block) == ("denoise", 1):
            stop.set()

    subject = performer()
    blocks = list(subject.blocks(split_features(clip["features"]), stop=stop, gate=Door(someone_else_is_first)))
    assert [block.index for block in blocks] == [0] and subject.next_block == 1


def test_after_its_end_a_session_must_be_started(
    performer: Callable[..., Performer], clip: dict[str, Tensor], vae: WanVAE
) -> None:
    subject = performer()
    list(subject.blocks(split_features(clip["features"][:9])))
    subject.end()
    assert isinstance(subject.decoder, VAEStream) and subject.decoder.cache == ()
    with pytest.raises(SessionError, match="not been started"):
        subject.blocks([])


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Captures]:
    monkeypatch.setattr(block_module, "merge_padding", lambda context: (context, None))  # as on a GPU
    with emulated_graphs(monkeypatch) as captures:
        yield captures


def test_nothing_is_recorded_while_the_decoder_or_the_listener_is_at_work(
    golden_dit: CausalDiT,
    vae: WanVAE,
    clip: dict[str, Tensor],
    whole: list[FrameBlock],
    captures: Captures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recording waits for the whole device and gives back what others use; and a decoder waits until it is over."""
    subject = Performer(golden_dit, vae.decoder_stream(), STREAM, graphs=CudaRecorder(torch.device("cpu")))
    noise = GivenNoise(clip["noise"], clip["step_noise"])
    busy: list[str] = []
    decode = subject.decoder.decode

    def decoding(latents: Tensor) -> Tensor:
        busy.append("decode")
        try:
            return decode(latents)
        finally:
            busy.remove("decode")

    def recording() -> None:
        assert busy == []

    monkeypatch.setattr(subject.decoder, "decode", decoding)
    captures.begun = recording
    listener = Listener(clip["features"])
    hear = listener.features

    def hearing(first: int, last: int) -> Tensor:
        busy.append("hear")
        try:
            return hear(first, last)
        finally:
            busy.remove("hear")

    monkeypatch.setattr(listener, "features", hearing)
    subject.start(clip["context"], clip["reference"], noise)
    seen = list(subject.perform([np.zeros(81_000, np.float32)], listener))
    assert same_frames(seen, whole)
    assert subject.generator.recorded == len(captures.graphs) == 2, "two pieces of work of a full window come again"


def test_after_warming_up_nothing_new_is_recorded(
    golden_dit: CausalDiT, vae: WanVAE, clip: dict[str, Tensor], captures: Captures
) -> None:
    subject = Performer(
        golden_dit,
        vae.decoder_stream(),
        replace(STREAM, position="bounded"),
        graphs=CudaRecorder(torch.device("cpu")),
    )
    subject.warm_up(Listener(torch.zeros_like(clip["features"])))
    known = subject.generator.recorded
    assert known == 11  # two for each of five lengths, and the turning back
    for _ in range(2):
        subject.start(clip["context"].repeat(1, 64, 1), clip["reference"], SeededNoise(0))
        list(subject.blocks(split_features(clip["features"])))
        assert subject.generator.recorded == len(captures.graphs) == known


def test_the_decoder_is_recorded_while_warming_up(
    golden_dit: CausalDiT, vae: WanVAE, clip: dict[str, Tensor], whole: list[FrameBlock], captures: Captures
) -> None:
    """With the renderer at the next block meanwhile, frames are the plain ones."""
    decoder = vae.decoder_stream(CudaRecorder(torch.device("cpu")))
    subject = Performer(golden_dit, decoder, STREAM, graphs=False)
    subject.warm_up(Listener(torch.zeros_like(clip["features"])), blocks=2)
    assert decoder.recorded
    assert len(captures.graphs) == 2
    subject.start(clip["context"], clip["reference"], GivenNoise(clip["noise"], clip["step_noise"]))
    blocks = list(subject.blocks(split_features(clip["features"])))
    assert torch.equal(torch.cat([b.frames for b in blocks]), torch.cat([b.frames for b in whole]))
    assert len(captures.graphs) == 2


def test_the_first_picture_can_come_alone(
    performer: Callable[..., Performer], clip: dict[str, Tensor], whole: list[FrameBlock]
) -> None:
    """The same pictures, and the decoder is asked for the first before it is asked for the others."""
    subject, door = performer(), Door()
    subject.first_alone = True
    parts = list(subject.blocks(split_features(clip["features"][:21]), gate=door))
    assert [(part.index, part.first_frame, len(part.frames)) for part in parts] == [(0, 0, 1), (0, 1, 8), (1, 9, 12)]
    assert torch.equal(torch.cat([b.frames for b in parts]), torch.cat([b.frames for b in whole[:2]]))
    assert torch.equal(torch.cat([b.latents for b in parts]), torch.cat([b.latents for b in whole[:2]]))
    assert [entry for entry in door.passed if entry[0] == "decode"] == [("decode", 0), ("decode", 0), ("decode", 1)]


def test_the_next_block_is_heard_while_this_one_is_denoised(
    performer: Callable[..., Performer], clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, listener, heard = performer(), Listener(clip["features"]), threading.Event()
    hear, denoise = listener.features, subject.generator.denoise

    def hearing(first: int, last: int) -> Tensor:
        if first == 9:
            heard.set()
        return hear(first, last)

    def denoising(audio: Tensor, noise: Tensor) -> Tensor:
        assert heard.wait(30), "block 1 is heard only after block 0 was denoised"
        return denoise(audio, noise)

    monkeypatch.setattr(listener, "features", hearing)
    monkeypatch.setattr(subject.generator, "denoise", denoising)
    assert len(list(subject.perform([np.zeros(21_000, np.float32)], listener))) == 2


def test_convolutions_are_timed_while_warming_up_alone(
    golden_dit: CausalDiT, vae: WanVAE, clip: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cuDNN has chosen for a thread stays chosen; the shapes of a speaker's last words are never timed."""
    settings = []
    for benchmark in (True, False):
        subject = Performer(golden_dit, vae.decoder_stream(), STREAM, benchmark=benchmark)
        decode = subject.decoder.decode

        def noting(latents: Tensor, decode: Callable[[Tensor], Tensor] = decode) -> Tensor:
            settings.append(torch.backends.cudnn.benchmark)
            return decode(latents)

        monkeypatch.setattr(subject.decoder, "decode", noting)
        subject.warm_up(blocks=1)
        subject.start(clip["context"], clip["reference"], SeededNoise(0))
        list(subject.blocks(split_features(clip["features"][:9])))
    assert settings == [True, False, False, False]
