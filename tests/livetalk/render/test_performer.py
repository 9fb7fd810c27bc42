import gc
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from livetalk.base.errors import SessionError
from livetalk.render import vae as vae_module
from livetalk.render.config import StreamConfig, VAEConfig, block_frames
from livetalk.render.model import random_tensors
from livetalk.render.model.audio import lead_in
from livetalk.render.performer import GivenNoise, Performer, SeededNoise, generate_latents, split_features
from livetalk.render.vae import WanVAE

STREAM = StreamConfig(4, 4)
BLOCKS = 7


@pytest.fixture(scope="module")
def vae():
    config = VAEConfig(dim=4, num_res_blocks=1)
    return WanVAE.from_state(config, random_tensors(vae_module.reference_shapes(config)), channels_last=True)


@pytest.fixture(scope="module")
def clip(golden_config):
    draw = torch.Generator().manual_seed(0)
    return {
        "context": torch.randn(1, 8, golden_config.text_dim, generator=draw),
        "reference": torch.randn(1, 16, 1, 4, 4, generator=draw),
        "features": torch.randn(12 * BLOCKS - 3, golden_config.audio_feat_dim, generator=draw),
        "noise": torch.randn(1, 3 * BLOCKS, 16, 4, 4, generator=draw),
        "step_noise": torch.randn(BLOCKS, 3, 3, 16, 4, 4, generator=draw),
    }


@pytest.fixture
def performer(golden_dit, vae, clip):
    def make(overlap=True, noise=None, **settings):
        performer = Performer(golden_dit, vae.decoder_stream(), StreamConfig(4, 4, **settings), overlap=overlap)
        noise = noise or GivenNoise(clip["noise"], clip["step_noise"])
        performer.start(clip["context"], clip["reference"], noise)
        return performer

    return make


class Listener:
    """Stands in for a speech stream: the features are the clip's, ready once their samples and a look-ahead are in."""

    def __init__(self, features, look_ahead=2):
        self.rows, self.look_ahead = features, look_ahead
        self.samples, self.closed = 0, False

    def push(self, samples):
        assert not self.closed
        self.samples += len(samples)

    def close(self):
        self.closed = True

    def ready(self, first, last):
        return self.closed or self.samples >= (last + 1 + self.look_ahead) * 1000

    def features(self, first, last):
        assert self.ready(first, last)
        return self.rows[first : last + 1]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_session_equals_one_shot_generation(performer, golden_dit, vae, clip, overlap):
    blocks = list(performer(overlap).blocks(split_features(clip["features"])))
    latents = generate_latents(
        golden_dit,
        noise=clip["noise"],
        step_noise=clip["step_noise"],
        reference=clip["reference"],
        audio=golden_dit.embed_audio(lead_in(clip["features"])),
        context=clip["context"],
        stream=STREAM,
    )
    torch.testing.assert_close(torch.cat([block.latents for block in blocks])[None], latents, atol=2e-5, rtol=0)
    assert torch.equal(
        torch.cat([block.frames for block in blocks]),
        vae.decode(torch.cat([block.latents for block in blocks]).transpose(0, 1)[None]),
    )


def test_blocks_follow_the_clock_of_the_video(performer, clip):
    blocks = list(performer().blocks(split_features(clip["features"])))
    assert [block.index for block in blocks] == list(range(BLOCKS))
    assert [block.first_frame for block in blocks] == [block_frames(b)[0] for b in range(BLOCKS)]
    assert [tuple(block.frames.shape) for block in blocks] == [(9, 32, 32, 3)] + [(12, 32, 32, 3)] * (BLOCKS - 1)
    assert all(block.frames.dtype == torch.uint8 for block in blocks)
    assert all(block.seconds > 0 for block in blocks)


def test_overlap_changes_nothing(performer, clip):
    overlapped, plain = (
        torch.cat([block.frames for block in performer(overlap).blocks(split_features(clip["features"]))])
        for overlap in (True, False)
    )
    assert torch.equal(overlapped, plain)


def test_frames_come_before_the_clean_pass(performer, clip):
    subject = performer(overlap=False)
    order = []
    clean = subject.generator.clean
    subject.generator.clean = lambda: (order.append("clean"), clean())
    order.extend(block.index for block in subject.blocks(split_features(clip["features"][:21])))
    assert order == [0, "clean", 1, "clean"]


def test_the_clean_pass_and_the_next_block_run_while_a_block_is_decoded(performer, clip):
    subject = performer()
    cleaned, decode = threading.Event(), subject.decoder.decode
    clean = subject.generator.clean

    def marked():
        clean()
        cleaned.set()

    def held(latents):
        assert cleaned.wait(30), "the clean pass waits for the decoder"
        return decode(latents)

    subject.generator.clean, subject.decoder.decode = marked, held
    assert len(list(subject.blocks(split_features(clip["features"][:21])))) == 2


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_come_as_soon_as_their_audio_has(performer, clip, overlap):
    """Block 0 needs 9 frames of audio and the look-ahead: it must come while the speaker is still silent after that."""
    taken = []
    delivered = threading.Event()

    def speaker():
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
def test_every_sample_is_shown_and_nothing_more(performer, clip, samples, blocks):
    chunks = [np.zeros(n, np.float32) for n in (samples // 2, samples - samples // 2)]
    assert len(list(performer().perform(chunks, Listener(clip["features"])))) == blocks


def test_how_the_audio_is_cut_does_not_matter(performer, clip):
    def frames(size):
        chunks = (np.zeros(size, np.float32) for _ in range(30_000 // size))
        return torch.cat([block.frames for block in performer().perform(chunks, Listener(clip["features"]))])

    assert torch.equal(frames(300), frames(15_000))


def test_a_second_utterance_goes_on_where_the_first_ended(performer, clip):
    whole = list(performer().blocks(split_features(clip["features"][:33])))
    subject = performer()
    first = list(subject.perform([np.zeros(21_000, np.float32)], Listener(clip["features"])))
    second = list(subject.perform([np.zeros(12_000, np.float32)], Listener(clip["features"][21:])))
    assert [block.index for block in first + second] == [0, 1, 2]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(whole, first + second, strict=True))


def test_a_restart_forgets_the_session(performer, clip):
    subject = performer(noise=SeededNoise(3))
    first = list(subject.blocks(split_features(clip["features"][:21])))
    subject.start(clip["context"], clip["reference"], SeededNoise(3))
    again = list(subject.blocks(split_features(clip["features"][:21])))
    subject.start(clip["context"], clip["reference"], SeededNoise(4))
    other = list(subject.blocks(split_features(clip["features"][:21])))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1].latents, other[1].latents)


def test_warming_up_leaves_no_trace(performer, clip):
    subject = performer()
    expected = list(subject.blocks(split_features(clip["features"][:9])))
    subject.warm_up()
    subject.start(clip["context"], clip["reference"], GivenNoise(clip["noise"], clip["step_noise"]))
    assert torch.equal(next(iter(subject.blocks(split_features(clip["features"][:9])))).frames, expected[0].frames)


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_in_the_audio_reaches_the_caller(performer, clip, overlap):
    def speaker():
        yield np.zeros(12_000, np.float32)
        raise OSError("the microphone is gone")

    blocks = performer(overlap).perform(speaker(), Listener(clip["features"]))
    assert next(blocks).index == 0
    with pytest.raises(OSError, match="microphone"):
        list(blocks)


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_in_the_decoder_reaches_the_caller(performer, clip, overlap):
    subject = performer(overlap)

    def broken(latents):
        raise RuntimeError("out of memory")

    subject.decoder.decode = broken
    with pytest.raises(RuntimeError, match="out of memory"):
        list(subject.blocks(split_features(clip["features"])))


def test_features_of_the_wrong_length_are_refused(performer, clip):
    with pytest.raises(SessionError, match="needs the features of 9 video frames; 12 came"):
        list(performer().blocks([clip["features"][:12]]))
    with pytest.raises(ValueError, match="whole number of blocks"):
        list(split_features(clip["features"][:20]))


def test_a_session_must_be_started(golden_dit, vae):
    with pytest.raises(SessionError, match="not been started"):
        Performer(golden_dit, vae.decoder_stream(), STREAM).blocks([])


def test_threads_end_with_the_iterator(performer, clip):
    blocks = performer().blocks(split_features(clip["features"]))
    next(blocks)
    blocks.close()
    assert not lanes()


def lanes():
    """Threads of performers."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("livetalk-")}


@pytest.mark.parametrize("overlap", [True, False])
def test_a_performer_on_a_gpu_keeps_its_threads_to_its_end(golden_dit, vae, clip, overlap):
    """There what was planned for a thread is lost with it."""
    subject = Performer(golden_dit, vae.decoder_stream(), STREAM, overlap=overlap, keep_threads=True)
    used = set()

    def noting(work):
        return lambda *given: (used.add(threading.current_thread()), work(*given))[1]

    subject.decoder.decode = noting(subject.decoder.decode)
    subject.generator.denoise = noting(subject.generator.denoise)
    subject.warm_up(blocks=1)
    for begin in (0, 1):
        subject.start(clip["context"], clip["reference"], GivenNoise(clip["noise"], clip["step_noise"]))
        blocks = subject.blocks(split_features(clip["features"]))
        seen = [next(blocks) for _ in range(begin + 1)]
        blocks.close()
        assert [block.index for block in seen] == list(range(begin + 1))
    kept = lanes()
    assert len(kept) == 2 and used == kept
    del subject, blocks, seen
    gc.collect()
    for thread in kept:
        thread.join(30)
    assert not lanes()


def test_warming_up_overlaps_nothing(performer, clip):
    """The compiler waits for the whole device, and another thread may be capturing."""
    subject = performer(overlap=True)
    busy = threading.Lock()
    stages = []

    def alone(name, work):
        def stage(*given):
            assert busy.acquire(blocking=False), f"{name} overlaps another stage"
            try:
                stages.append(name)
                return work(*given)
            finally:
                busy.release()

        return stage

    subject.generator.denoise = alone("denoise", subject.generator.denoise)
    subject.generator.clean = alone("clean", subject.generator.clean)
    subject.decoder.decode = alone("decode", subject.decoder.decode)
    subject.warm_up(Listener(torch.zeros_like(clip["features"])))
    assert stages == ["denoise", "decode", "clean"] * 7  # five lengths of the window, and two more


def test_600_bounded_blocks_stay_finite_do_not_drift_and_take_no_more_memory(performer, clip, live_bytes):
    """Seven and a half minutes, network and decoder: the latents neither blow up nor fade, and nothing is kept."""
    subject = performer(overlap=False, noise=SeededNoise(0), position="bounded", steps=1)
    features = (clip["features"][:9] if b == 0 else clip["features"][9:21] for b in range(600))
    held, spread = {}, []
    for block in subject.blocks(features):
        assert block.latents.isfinite().all(), f"block {block.index}"
        spread.append(block.latents.std().item())
        if block.index in (20, 300, 599):
            held[block.index] = live_bytes()
    assert subject.generator.cache.end == 1800 and subject.generator.cache.valid_frames == 15
    assert len(held) == 3 and len(set(held.values())) == 1
    early, late = np.mean(spread[10:60]), np.mean(spread[-50:])
    assert abs(late - early) < 0.05 * early


def test_absolute_positions_end_in_an_error(performer, clip):
    subject = performer(steps=1, noise=SeededNoise(0))
    subject.generator.cache.end = 1020
    rows = clip["features"][:9]
    with pytest.raises(SessionError, match="1024"):
        list(subject.blocks([rows, clip["features"][9:21]]))


class Chunks:
    """Audio that is handed out chunk by chunk and can be waited for; it blocks where a speaker pauses."""

    def __init__(self, count, size=3000):
        self.left, self.size = count, size
        self.goes_on = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        if self.left == 0:
            assert self.goes_on.wait(30), "the performer still waits for audio"
            raise StopIteration
        self.left -= 1
        return np.zeros(self.size, np.float32)


def same_frames(blocks, expected):
    return len(blocks) == len(expected) and all(
        a.index == b.index and torch.equal(a.frames, b.frames) for a, b in zip(blocks, expected, strict=True)
    )


def rows(clip, begin):
    """Features of the clip's blocks from one on."""
    return [clip["features"][first : last + 1] for first, last in map(block_frames, range(begin, BLOCKS))]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_session_goes_on_after_a_performance_was_left(performer, clip, overlap, taken):
    """Whatever was under way is finished for nobody: what comes next is as if it had been shown."""
    whole = list(performer().blocks(split_features(clip["features"])))
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
def test_a_stop_lets_the_block_in_work_be_the_last(performer, clip, overlap):
    whole = list(performer().blocks(split_features(clip["features"])))
    subject, stop = performer(overlap), threading.Event()
    seen = []
    for block in subject.perform([np.zeros(80_000, np.float32)], Listener(clip["features"]), stop=stop):
        seen.append(block)
        stop.set()
    assert 1 <= len(seen) <= 2
    assert same_frames(seen + list(subject.blocks(rows(clip, len(seen)))), whole)


def test_a_stop_before_the_first_block_renders_nothing(performer, clip):
    subject, stop = performer(), threading.Event()
    stop.set()
    assert list(subject.perform([np.zeros(9000, np.float32)], Listener(clip["features"]), stop=stop)) == []
    assert subject.next_block == 0


def test_a_stopped_performance_does_not_wait_for_a_speaker_who_was_told(performer, clip):
    subject, stop, audio = performer(), threading.Event(), Chunks(4)
    blocks = subject.perform(audio, Listener(clip["features"]), stop=stop)
    assert next(blocks).index == 0  # the next one lacks its audio
    stop.set()
    audio.goes_on.set()
    assert list(blocks) == [] and subject.next_block == 1


class Door:
    """A gate that notes who passes; `before` is called while the stage waits."""

    def __init__(self, before=lambda stage, block: None):
        self.passed, self.before = [], before
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, stage, block):
        self.before(stage, block)
        with self._lock:
            self.passed.append((stage, block))
            yield


@pytest.mark.parametrize("overlap", [True, False])
def test_every_stage_passes_the_gate(performer, clip, overlap):
    door = Door()
    expected = list(performer().blocks(split_features(clip["features"][:33])))
    assert same_frames(list(performer(overlap).blocks(split_features(clip["features"][:33]), gate=door)), expected)
    assert sorted(door.passed) == sorted((stage, b) for stage in ("denoise", "clean", "decode") for b in range(3))
    rendered = [entry for entry in door.passed if entry[0] != "decode"]
    assert rendered == [(stage, b) for b in range(3) for stage in ("denoise", "clean")]


def test_a_block_that_was_stopped_at_the_gate_is_not_begun(performer, clip):
    stop = threading.Event()

    def someone_else_is_first(stage, block):
        if (stage, block) == ("denoise", 1):
            stop.set()

    subject = performer()
    blocks = list(subject.blocks(split_features(clip["features"]), stop=stop, gate=Door(someone_else_is_first)))
    assert [block.index for block in blocks] == [0] and subject.next_block == 1


def test_after_its_end_a_session_must_be_started(performer, clip, vae):
    subject = performer()
    list(subject.blocks(split_features(clip["features"][:9])))
    subject.end()
    assert subject.decoder.cache == ()
    with pytest.raises(SessionError, match="not been started"):
        subject.blocks([])
