"""The stream in a browser: appended to a MediaSource fragment by fragment, and as a file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from flash_clip import FlashClip
from livetalk.video.fragments import FragmentWriter

pytestmark = pytest.mark.browser

BLOCKS = (9, 12, 12, 12, 12)
CLIP = FlashClip({4, 13, 22, 34, 46, 53})
SECONDS = sum(BLOCKS) / 16

HELPERS = """
const bytesOf = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const happens = (target, name) => new Promise((done, fail) => {
    target.addEventListener(name, done, {once: true});
    target.addEventListener("error", () => fail(new Error(target.error?.message ?? "error")), {once: true});
});
const ranges = of => Array.from({length: of.length}, (_, n) => [of.start(n), of.end(n)]);
const reaches = (video, time) => new Promise(done => {
    const look = () => video.currentTime >= time ? done() : setTimeout(look, 5);
    look();
});
function element() {
    document.body.replaceChildren(document.createElement("video"));
    return document.body.firstChild;
}
async function opened(mime) {
    const video = element(), source = new MediaSource();
    video.src = URL.createObjectURL(source);
    await happens(source, "sourceopen");
    const buffer = source.addSourceBuffer(mime);
    const append = async part => { buffer.appendBuffer(bytesOf(part)); await happens(buffer, "updateend"); };
    return {video, source, append};
}
const fileOf = parts => new Blob(parts.map(bytesOf), {type: "video/mp4"});
const played = video => ({
    at: video.currentTime, duration: video.duration, ranges: ranges(video.buffered),
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    sound: video.webkitAudioDecodedByteCount, width: video.videoWidth, height: video.videoHeight,
});
async function whiteFrames(video, count) {
    const canvas = document.createElement("canvas"), found = [];
    const brush = canvas.getContext("2d", {willReadFrequently: true});
    for (let frame = 0; frame < count; frame++) {
        // A seek is over before its frame is there to be painted.
        const shown = new Promise(done => {
            const look = (_, of) => of.mediaTime === frame / 16 ? done() : video.requestVideoFrameCallback(look);
            video.requestVideoFrameCallback(look);
        });
        video.currentTime = (frame + 0.5) / 16;
        await shown;
        brush.drawImage(video, 0, 0, 4, 4);
        if (brush.getImageData(1, 1, 1, 1).data[0] > 128) found.push(frame);
    }
    return found;
}
function onsets(samples, rate, loud = 0.2) {
    const found = [];
    let last = -rate;
    samples.forEach((value, at) => {
        if (Math.abs(value) <= loud) return;
        if (at - last > rate / 10) found.push(at / rate);
        last = at;
    });
    return found;
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        page = browser.new_page()
        page.set_content("<title>playback</title>")
        page.add_script_tag(content=HELPERS)
        yield page


@pytest.fixture(scope="module")
def stream() -> dict[str, Any]:
    """The media type and the pieces of `CLIP`, as a page takes them."""
    writer = FragmentWriter(CLIP.width, CLIP.height, metadata={"comment": "made for a test"})
    parts = [writer.init_segment, *(writer.write(*block) for block in CLIP.blocks(BLOCKS)), writer.finish()]
    return {"mime": writer.mime, "parts": [base64.b64encode(part).decode() for part in parts]}


def test_each_fragment_can_be_played_as_soon_as_it_is_appended(page: Any, stream: dict[str, Any]) -> None:
    grown, after = page.evaluate(
        """async ({mime, parts}) => {
            const {video, source, append} = await opened(mime), grown = [];
            for (const part of parts) { await append(part); grown.push(ranges(video.buffered)); }
            source.endOfStream();
            await video.play();
            await happens(video, "ended");
            return [grown, played(video)];
        }""",
        stream,
    )
    assert grown[0] == []
    for end, [[start, reached]] in zip(accumulate(BLOCKS), grown[1:-1], strict=True):
        # A range ends where the first of the two tracks does, and that is the sound, whose coder looks ahead.
        assert start == 0
        assert end / 16 - 0.065 < reached < end / 16
    assert grown[-1] == [[0, pytest.approx(SECONDS, abs=1e-5)]]
    assert after["duration"] == after["at"] == pytest.approx(SECONDS, abs=1e-5)
    assert (after["frames"], after["width"], after["height"]) == (sum(BLOCKS), 64, 48)
    assert after["sound"] > 1000


def test_plays_while_later_fragments_are_still_to_come(page: Any, stream: dict[str, Any]) -> None:
    waited, after = page.evaluate(
        """async ({mime, parts}) => {
            const {video, source, append} = await opened(mime), waited = [];
            await append(parts[0]);
            await append(parts[1]);
            await video.play();
            for (const part of parts.slice(2)) {
                // Only once all but the last moments of the former fragment were shown does the next one come.
                await reaches(video, video.buffered.end(0) - 0.2);
                waited.push(video.currentTime);
                await append(part);
            }
            source.endOfStream();
            await happens(video, "ended");
            return [waited, played(video)];
        }""",
        stream,
    )
    assert len(waited) == len(BLOCKS)
    assert (np.diff(waited) > 0).all()
    assert after["ranges"] == [[0, pytest.approx(SECONDS, abs=1e-5)]]
    assert after["frames"] == sum(BLOCKS)


def test_frames_and_sound_lie_where_they_belong(page: Any, stream: dict[str, Any]) -> None:
    white, heard, samples = page.evaluate(
        """async ({mime, parts}) => {
            const {video, source, append} = await opened(mime);
            for (const part of parts) await append(part);
            source.endOfStream();
            const white = await whiteFrames(video, 57);
            const context = new OfflineAudioContext(1, 48000, 48000);
            const sound = await context.decodeAudioData(await fileOf(parts).arrayBuffer());
            return [white, onsets(sound.getChannelData(0), 48000), sound.length];
        }""",
        stream,
    )
    assert white == sorted(CLIP.flashes)
    assert np.abs(np.subtract(heard, CLIP.times())).max() < 0.001
    assert 0 <= samples - sum(BLOCKS) * 3000 < 1024


@pytest.mark.parametrize("way", ["stream", "file"])
def test_what_is_heard_is_seen(page: Any, stream: dict[str, Any], way: str) -> None:
    heard, seen = page.evaluate(
        """async ({mime, parts, way}) => {
            let video;
            if (way === "file") {
                video = element();
                video.src = URL.createObjectURL(fileOf(parts));
            } else {
                const {video: made, source, append} = await opened(mime);
                for (const part of parts) await append(part);
                source.endOfStream();
                video = made;
            }
            const context = new AudioContext({sampleRate: 48000});
            await context.resume();
            const heard = [], seen = [], size = 256;
            const ear = context.createScriptProcessor(size, 1, 1);
            context.createMediaElementSource(video).connect(ear);
            ear.connect(context.destination);
            let loud = -1;
            ear.onaudioprocess = event => {
                // The node hands its input on two of its buffers later.
                const start = event.playbackTime - 2 * size / 48000;
                event.inputBuffer.getChannelData(0).forEach((value, at) => {
                    if (Math.abs(value) <= 0.2) return;
                    const now = start + at / 48000;
                    if (now - loud > 0.1) heard.push(now);
                    loud = now;
                });
            };
            const brush = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
            let lit = false;
            const look = (_, frame) => {
                brush.drawImage(video, 0, 0, 4, 4);
                const white = brush.getImageData(1, 1, 1, 1).data[0] > 128;
                if (white && !lit)
                    seen.push(context.currentTime + (frame.expectedDisplayTime - performance.now()) / 1000);
                lit = white;
                video.requestVideoFrameCallback(look);
            };
            video.requestVideoFrameCallback(look);
            await video.play();
            await happens(video, "ended");
            await context.close();
            return [heard, seen];
        }""",
        {**stream, "way": way},
    )
    assert len(heard) == len(CLIP.flashes)
    # A busy machine may show a frame late or not at all; sound that is shifted would be so at each of them.
    offsets = [min(np.subtract(heard, time), key=abs) for time in seen]
    assert len(offsets) > 0
    assert abs(np.median(offsets)) < 0.04


def test_plays_as_a_plain_file_and_seeks(page: Any, stream: dict[str, Any]) -> None:
    after, white = page.evaluate(
        """async ({parts}) => {
            const video = element();
            video.src = URL.createObjectURL(fileOf(parts));
            await happens(video, "loadedmetadata");
            await video.play();
            await happens(video, "ended");
            return [played(video), await whiteFrames(video, 57)];
        }""",
        stream,
    )
    # The demuxer of a file counts the coder's first frame, which is not played, as part of the length.
    assert after["at"] == pytest.approx(SECONDS, abs=1024 / 48_000 + 0.001)
    assert after["frames"] == sum(BLOCKS)
    assert after["sound"] > 1000
    assert white == sorted(CLIP.flashes)


def test_a_stream_that_was_cut_off_plays_to_its_end(page: Any, stream: dict[str, Any]) -> None:
    after = page.evaluate(
        """async ({mime, parts}) => {
            const {video, source, append} = await opened(mime);
            for (const part of parts.slice(0, 3)) await append(part);
            source.endOfStream();
            await video.play();
            await happens(video, "ended");
            return played(video);
        }""",
        stream,
    )
    assert after["at"] == pytest.approx(sum(BLOCKS[:2]) / 16, abs=0.001)
    assert after["frames"] == sum(BLOCKS[:2])
