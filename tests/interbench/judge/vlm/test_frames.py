"""What a server should make of clips, and the bundled probe clips."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from interbench.judge.vlm import probe
from interbench.judge.vlm.frames import Sampling, View, Vocabulary, difference, expected_view, views

PUBLISHED = Sampling(32, 784)


@pytest.mark.parametrize(
    ("clip", "frames", "pixels"),
    [
        ((100, 25, 784, 784), 32, 768 * 768),
        ((240, 24, 1280, 720), 32, 1024 * 576),
        ((240, 24, 720, 1280), 32, 1024 * 576),
        ((480, 24, 512, 512), 32, 512 * 512),
        ((20, 10, 320, 320), 20, 320 * 320),
        ((21, 10, 320, 320), 22, 320 * 320),
        ((60, 60, 256, 256), 30, 256 * 256),
        ((1, 25, 64, 64), 2, 64 * 64),
        ((3000, 25, 1920, 1080), 32, 1024 * 576),
    ],
)
def test_expected_view(clip: tuple[int, float, int, int], frames: int, pixels: int) -> None:
    view = expected_view(PUBLISHED, *clip)
    assert (view.frames, view.pixels_per_frame) == (frames, pixels)
    assert view.times_s is not None and len(view.times_s) == view.frames // 2
    assert view.tokens == view.frames // 2 * pixels // 1024


def test_frames_span_the_whole_clip() -> None:
    view = expected_view(PUBLISHED, 250, 25, 512, 512)
    assert view.times_s is not None
    assert view.times_s[0] < 0.2
    assert view.times_s[-1] > 9.7
    assert list(view.times_s) == sorted(view.times_s)


def _prompt(videos: list[tuple[list[float], int]]) -> tuple[list[int], list[str]]:
    special = {1: "<|video_pad|>", 2: "<|vision_start|>", 3: "<|vision_end|>"}
    ids: list[int] = [ord(c) for c in "0123456789."]
    for times, tokens in videos:
        ids.append(2)
        for time in times:
            ids += [*map(ord, f"<{time:.1f} seconds>"), 2, *[1] * tokens, 3]
        ids += [3, *map(ord, "Video 9 <0.3 seconds> said")]
    return ids, [special.get(token) or chr(token) for token in ids]


def test_videos_are_told_apart_in_a_prompt() -> None:
    ids, texts = _prompt([([0.1, 0.5, 12.5], 4), ([0.0], 9), ([0.2, 0.4], 1)])
    vocabulary = Vocabulary.learned(ids, texts)
    assert vocabulary is not None
    assert views(ids, vocabulary) == [View(6, 4, (0.1, 0.5, 12.5)), View(2, 9, (0.0,)), View(4, 1, (0.2, 0.4))]
    assert views([5, 6, 7], vocabulary) == []


def test_unreadable_times_are_unknown_not_invented() -> None:
    ids, texts = _prompt([([0.1, 0.5], 4)])
    vocabulary = Vocabulary.learned(ids, texts)
    assert vocabulary is not None
    digits = {ord(c) for c in "0123456789"}
    blind = Vocabulary(vocabulary.video, vocabulary.end, {i: t for i, t in vocabulary.texts.items() if i not in digits})
    assert views(ids, blind) == [View(4, 4, None)]


def test_another_kind_of_model_has_no_vocabulary() -> None:
    assert Vocabulary.learned([1, 2], ["a", "b"]) is None


def test_differences_are_named() -> None:
    expected = View(32, 576, (0.1, 0.9))
    assert difference(expected, expected) == ""
    assert "8 frames instead of 32" in difference(View(8, 576, None), expected)
    assert "65,536 pixels per frame instead of 589,824" in difference(View(32, 64, None), expected)
    assert "wrong by up to 1.0 s" in difference(View(32, 576, (0.1, 1.9)), expected)
    assert difference(View(32, 576, (0.15, 0.95)), expected) == ""


def test_probe_clips_are_what_the_probe_takes_them_for() -> None:
    folder = Path(probe.__file__).parent / "probe_clips"
    for name, frames, fps, width, height in probe._CLIPS:
        with av.open(str(folder / name), "r") as container:
            stream = container.streams.video[0]
            assert sum(1 for _ in container.decode(video=0)) == frames
            assert (float(stream.average_rate or 0), stream.width, stream.height) == (fps, width, height)
