"""What is whole is accepted, and only what is cut short is called so."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odd_clips import FRAGMENTED, boxes, remux, shifted, with_declared_duration, with_second_sound, with_subtitles

from interbench.base.errors import MediaError
from interbench.media.pool import MediaPool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def plain(
    make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One second, picture and sound."""
    return make_clip(tmp_path_factory.mktemp("clips") / "plain.mp4", sound=tone(1.0), codec_options={"g": "10"})


@pytest.fixture(scope="module")
def fragmented(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return remux(plain, tmp_path_factory.mktemp("clips") / "fragmented.mp4", options=FRAGMENTED)


async def refusal(pool: MediaPool, path: Path) -> MediaError:
    with pytest.raises(MediaError) as refused:
        await pool.inspect(path)
    return refused.value


async def test_a_longer_subtitle_track(pool: MediaPool, plain: Path, tmp_path: Path) -> None:
    facts = await pool.inspect(with_subtitles(plain, tmp_path / "a.mkv", 20.0))
    assert facts.duration_s == pytest.approx(1.0, abs=0.06) and facts.frames == 25 and facts.length_known


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
async def test_a_longer_second_sound_track(pool: MediaPool, plain: Path, tmp_path: Path, name: str) -> None:
    facts = await pool.inspect(with_second_sound(plain, tmp_path / name, 8.0))
    assert facts.duration_s == pytest.approx(1.0, abs=0.06)
    sound = await pool.audio(tmp_path / name)
    assert sound is not None and len(sound) == pytest.approx(16_000, abs=700)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.ts", "a.mp4"])
@pytest.mark.parametrize("seconds", [3600.0, 0.3])
async def test_a_clock_that_does_not_begin_at_zero(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    name: str,
    seconds: float,
) -> None:
    webm = name.endswith("webm")
    source = make_clip(
        tmp_path / ("source.webm" if webm else "source.mp4"),
        sound=tone(1.0),
        video_codec="libvpx" if webm else "libx264",
        audio_codec="libopus" if webm else "aac",
    )
    facts = await pool.inspect(remux(source, tmp_path / name, shifted(seconds)))
    assert facts.duration_s == pytest.approx(1.0, abs=0.06) and facts.frames == 25
    assert facts.speech_start_s == pytest.approx(0.0, abs=0.06)
    sound = await pool.audio(tmp_path / name)
    assert sound is not None and len(sound) == pytest.approx(16_000, abs=900)


@pytest.mark.parametrize("keep", [0.8, 0.5])
async def test_a_file_with_an_offset_is_still_known_to_be_cut(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path, keep: float
) -> None:
    """Cut at the end of a cluster, with a segment of unknown length: only the declared duration tells."""
    source = make_clip(tmp_path / "s.webm", frames=150, sound=tone(6.0), video_codec="libvpx", audio_codec="libopus")
    path = remux(source, tmp_path / "a.webm", shifted(3600.0), options={"cluster_time_limit": "200"})
    data = bytearray(path.read_bytes())
    segment = data.find(bytes.fromhex("18538067")) + 4
    data[segment : segment + 8] = b"\x01" + b"\xff" * 7
    cut = data.rfind(bytes.fromhex("1F43B675"), 0, int(len(data) * keep))
    path.write_bytes(data[:cut])
    assert (await refusal(pool, path)).code == "truncated"


async def test_an_edit_list_that_hides_the_beginning(pool: MediaPool, plain: Path, tmp_path: Path) -> None:
    facts = await pool.inspect(remux(plain, tmp_path / "a.mp4", shifted(-0.5)))
    assert facts.duration_s == pytest.approx(0.5, abs=0.06) and facts.frames == pytest.approx(12, abs=1)


async def test_a_last_box_that_reaches_to_the_end_must_hold_what_the_index_names(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "a.mp4", sound=tone(1.0), container_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    (name, start, end) = boxes(bytes(data))[-1]
    assert name == b"mdat"
    data[start : start + 4] = bytes(4)
    path.write_bytes(data)
    assert (await pool.inspect(path)).frames == 25
    path.write_bytes(data[: start + (end - start) * 3 // 4])
    assert (await refusal(pool, path)).code == "truncated"


async def test_fragments_cut_between_them_are_known_only_if_a_length_is_declared(
    pool: MediaPool, fragmented: Path, tmp_path: Path
) -> None:
    data = fragmented.read_bytes()
    cut = [start for name, start, _ in boxes(data) if name == b"moof"][-1]
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    whole = await pool.inspect(path)
    assert (whole.length_known, whole.frames) == (False, 25)
    path.write_bytes(data[:cut])
    facts = await pool.inspect(path)
    assert not facts.length_known and facts.frames < 25
    declared = with_declared_duration(data, 1.1)
    path.write_bytes(declared)
    facts = await pool.inspect(path)
    assert (facts.length_known, facts.frames) == (True, 25)


@pytest.fixture(scope="module")
def long_fragments(
    make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    folder = tmp_path_factory.mktemp("clips")
    source = make_clip(folder / "s.mp4", frames=75, sound=tone(3.0), codec_options={"g": "10"})
    return remux(source, folder / "a.mp4", options=FRAGMENTED).read_bytes()


async def test_a_declared_length_convicts_fragments_that_are_missing(
    pool: MediaPool, long_fragments: bytes, tmp_path: Path
) -> None:
    path, starts = tmp_path / "a.mp4", [start for name, start, _ in boxes(long_fragments) if name == b"moof"]
    path.write_bytes(with_declared_duration(long_fragments, 3.0)[: starts[4] + 16])
    refused = await refusal(pool, path)
    assert refused.code == "truncated" and "says it plays 3.00 s" in str(refused)
    path.write_bytes(with_declared_duration(long_fragments, 0.0)[: starts[4] + 16])
    assert not (await pool.inspect(path)).length_known


@pytest.mark.parametrize("sign", ["mfra", "sidx"])
async def test_other_signs_of_the_end(pool: MediaPool, plain: Path, tmp_path: Path, sign: str) -> None:
    flags = "frag_keyframe+empty_moov+default_base_moof" + ("+global_sidx" if sign == "sidx" else "")
    path = remux(plain, tmp_path / "a.mp4", options={"movflags": flags})
    data = path.read_bytes()
    assert sign.encode() in data and (await pool.inspect(path)).length_known
    start = [start for name, start, _ in boxes(data) if name == b"moof"][-1]
    path.write_bytes(data[:start])
    if sign == "sidx":
        refused = await refusal(pool, path)
        assert refused.code == "truncated" and "segment index" in str(refused)
    else:
        assert not (await pool.inspect(path)).length_known


async def test_fragments_that_run_backwards_are_not_called_cut_short(
    pool: MediaPool, long_fragments: bytes, tmp_path: Path
) -> None:
    pieces = boxes(long_fragments)
    fragments = [
        long_fragments[start:end] + long_fragments[pieces[index + 1][1] : pieces[index + 1][2]]
        for index, (name, start, end) in enumerate(pieces)
        if name == b"moof"
    ]
    head = long_fragments[: next(start for name, start, _ in pieces if name == b"moof")]
    path = tmp_path / "a.mp4"
    path.write_bytes(head + b"".join([*fragments[3:], *fragments[:3]]))
    refused = await refusal(pool, path)
    assert refused.code == "undecodable" and "fragments run backwards" in str(refused)


async def test_live_webm_says_nothing_of_its_length(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(
        tmp_path / "a.webm",
        sound=tone(1.0),
        video_codec="libvpx",
        audio_codec="libopus",
        container_options={"live": "1"},
    )
    facts = await pool.inspect(path)
    assert (facts.length_known, facts.frames) == (False, 25)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08" + bytes(50), "gzip-compressed file"),
        (b"<!DOCTYPE html><html>sign in</html>", "a web page"),
        (b'{"error": {"message": "no"}}', "JSON"),
        (bytes(5000), "a file of zeros"),
        (b"RIFF" + struct.pack("<I", 100) + b"AVI " + bytes(100), "an AVI file"),
    ],
)
async def test_what_is_no_clip_is_called_what_it_is(pool: MediaPool, tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    refused = await refusal(pool, tmp_path / "a.mp4")
    assert refused.code == "not_media" and what in str(refused) and "cut short" not in str(refused)


async def test_the_sound_that_a_player_plays(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """The second track is the default one, and the first is silent."""
    source = make_clip(tmp_path / "s.mp4", sound=np.zeros(48_000, np.float32))
    path = with_second_sound(source, tmp_path / "a.mkv", 1.0)
    assert not (await pool.inspect(path)).audible
    other = make_clip(tmp_path / "t.mp4", frames=0, sound=tone(1.0))
    import av

    with av.open(str(source)) as one, av.open(str(other)) as two, av.open(str(tmp_path / "b.mkv"), "w") as writer:
        streams = [*one.streams, *two.streams]
        targets = {id(stream): writer.add_stream_from_template(stream) for stream in streams}
        targets[id(one.streams.audio[0])].disposition = 0
        targets[id(two.streams.audio[0])].disposition = av.stream.Disposition.default
        for reader in (one, two):
            for packet in reader.demux():
                if packet.dts is not None:
                    packet.stream = targets[id(packet.stream)]
                    writer.mux(packet)
    assert (await pool.inspect(tmp_path / "b.mkv")).audible
