"""The transcriber against real FunASR with tiny checkpoints: the true loading and inference path."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from interbench.asr.base import Utterance
from interbench.asr.funasr import MODEL, PUNC_MODEL, VAD_MODEL, FunASR
from interbench.asr.funasr_worker import REVISION, ModelSettings, settings_request
from interbench.base.errors import TranscriberError
from interbench.base.workers import WorkerError, WorkerPool, python_worker

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("funasr") is None,
    reason="NOT TESTED ON THE REAL ENGINE: FunASR is not installed; `make test` installs the extra `asr`.",
)


def make(models: Path, **options: object) -> FunASR:
    given = {"model": models / "asr", "vad_model": models / "vad", "punc_model": models / "punc", **options}
    return FunASR(**{name: str(value) if isinstance(value, Path) else value for name, value in given.items()})  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ear(models: Path) -> AsyncIterator[FunASR]:
    transcriber = make(models, device="cpu")
    await transcriber.start()
    yield transcriber
    await transcriber.stop()


def utterance(spans: Sequence[tuple[float, float]], seconds: float, key: str = "s/c/1", seed: int = 0) -> Utterance:
    """Faint noise, loud in ``spans``."""
    rng = np.random.default_rng(seed)
    sound: npt.NDArray[np.float32] = rng.normal(0, 1e-4, int(seconds * 16000)).astype(np.float32)
    for start, end in spans:
        part = slice(int(start * 16000), int(end * 16000))
        sound[part] += rng.normal(0, 0.1, part.stop - part.start).astype(np.float32)
    return Utterance(key, sound, None, None)


@pytest.mark.asyncio(loop_scope="module")
async def test_words_lie_where_the_sound_is(ear: FunASR) -> None:
    (transcript,) = await ear.transcribe([utterance([(2, 5), (7, 10)], 12)])
    assert transcript.error is None and transcript.flags == ()
    assert len(transcript.words) >= 2 and transcript.text
    assert "<unk>" not in transcript.text and transcript.text == transcript.text.strip()
    starts = [word.start_s for word in transcript.words]
    assert starts == sorted(starts)
    for word in transcript.words:
        assert word.start_s < word.end_s
        assert 1.5 <= word.start_s <= 5.5 or 6.5 <= word.start_s <= 10.5
    assert any(word.start_s < 5.5 for word in transcript.words) and any(word.start_s > 6.5 for word in transcript.words)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_sound_gives_the_same_words_in_any_batch(ear: FunASR) -> None:
    """Dither is off (the checkpoint asks for it) and batching does not mix utterances up."""
    one, other = utterance([(1, 4)], 6), utterance([(0.5, 2), (3, 8)], 9, seed=7)
    (alone,) = await ear.transcribe([one])
    together = await ear.transcribe([other, one, other, one])
    assert together[1] == together[3] == alone
    assert together[0] == together[2] != alone


@pytest.mark.asyncio(loop_scope="module")
async def test_the_length_of_the_others_in_a_batch_changes_no_word(ear: FunASR) -> None:
    """The recogniser must not look into the padding after a segment's end."""
    rng = np.random.default_rng(12)
    sounds = []
    for number in range(16):
        seconds, level = rng.uniform(0.5, 6), rng.uniform(0.02, 0.3)
        parts = [(0.2, 1e-4), (seconds, level), (0.5, 1e-4)]
        sound = np.concatenate([rng.normal(0, loud, int(long * 16000)) for long, loud in parts])
        sounds.append(Utterance(f"{number}", sound.astype(np.float32), None, None))
    alone = [(await ear.transcribe([sound]))[0].text for sound in sounds]
    together = [transcript.text for transcript in await ear.transcribe(sounds)]
    assert together == alone and len(set(alone)) > 6


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_to_hear_is_flagged_not_invented(ear: FunASR) -> None:
    tone = (0.01 * np.ones(80_000)).astype(np.float32)
    batch = [
        Utterance("no track", None, None, None),
        Utterance("digital silence", np.zeros(32_000, np.float32), None, None),
        Utterance("nothing at all", np.zeros(0, np.float32), None, None),
        Utterance("no speech", tone, None, None),
        utterance([(1, 2)], 3, "speech"),
    ]
    transcripts = await ear.transcribe(batch)
    assert [transcript.flags for transcript in transcripts] == [
        ("no_audio",),
        ("silent",),
        ("silent",),
        ("no_speech",),
        (),
    ]
    assert all(transcript.error is None for transcript in transcripts)
    assert [bool(transcript.text) for transcript in transcripts] == [False, False, False, False, True]


@pytest.mark.asyncio(loop_scope="module")
async def test_music_has_a_transcript_or_a_flag(ear: FunASR) -> None:
    time = np.arange(8 * 16000) / 16000
    chords = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220.0, 277.2, 329.6)) * (1 + np.sin(2 * np.pi * time))
    (transcript,) = await ear.transcribe([Utterance("music", chords.astype(np.float32), None, None)])
    assert transcript.error is None
    assert bool(transcript.text) != ("no_speech" in transcript.flags)


@pytest.mark.asyncio(loop_scope="module")
async def test_sound_so_loud_that_the_voice_activity_model_is_sure_of_it(ear: FunASR) -> None:
    noise = np.random.default_rng(5).normal(0, 0.5, 5 * 16000).clip(-1, 1).astype(np.float32)
    noise[32_000:48_000] = 0
    (transcript,) = await ear.transcribe([Utterance("loud", noise, None, None)])
    assert transcript.error is None and "failed" not in transcript.flags


@pytest.mark.asyncio(loop_scope="module")
async def test_ten_minutes(ear: FunASR) -> None:
    spans = [(float(start), float(start + 8)) for start in range(1, 600, 20)]
    (transcript,) = await ear.transcribe([utterance(spans, 600)])
    assert transcript.error is None and transcript.flags == ()
    assert transcript.words[0].start_s < 10 and transcript.words[-1].end_s > 580
    covered = sum(any(start - 1 <= word.start_s <= end + 1 for word in transcript.words) for start, end in spans)
    assert covered == len(spans)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_event_loop_goes_on_meanwhile(ear: FunASR) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await ear.transcribe([utterance([(1, 9)], 10)])
    ticking.cancel()
    assert ticks > 50


@pytest.mark.asyncio(loop_scope="module")
async def test_identity_is_that_of_the_weights(ear: FunASR, models: Path, tmp_path: Path) -> None:
    identity = ear.identity()
    assert {len(digest) for digest in identity["weights"].values()} == {64}
    moved = tmp_path / "asr"
    shutil.copytree(models / "asr", moved)
    assert str(tmp_path) not in repr(identity)


MODELS = {"asr": MODEL, "vad": VAD_MODEL, "punc": PUNC_MODEL}


def cache(models: Path, folder: Path, name: str, revision: str) -> None:
    """Put a model where ModelScope keeps what was downloaded."""
    place = folder / "models" / MODELS[name].replace("/", "--") / "snapshots" / revision
    shutil.copytree(models / name, place)


async def test_the_pinned_revision_is_taken_from_the_cache_and_any_other_is_told(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    for name in MODELS:
        cache(models, tmp_path, name, "master")
    for name in ("vad", "punc"):
        cache(models, tmp_path, name, REVISION)
    untagged = FunASR(device="cpu")
    await untagged.start()
    await untagged.stop()
    assert untagged.notes() == [f"the speech model {MODEL} is taken from revision master instead of {REVISION}"]
    cache(models, tmp_path, "asr", REVISION)
    pinned = FunASR(device="cpu")
    await pinned.start()
    await pinned.stop()
    assert pinned.notes() == []
    assert pinned.identity() == untagged.identity()


async def test_the_other_hub_keeps_models_as_well(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    kept, commit = tmp_path / "models--funasr--fsmn-vad", "0123456789abcdef0123456789abcdef01234567"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(models / "vad", kept / "snapshots" / commit)
    ear = make(models, vad_model="funasr/fsmn-vad", device="cpu")
    await ear.start()
    await ear.stop()
    assert ear.notes() == [f"the speech model funasr/fsmn-vad is taken from revision {commit} instead of {REVISION}"]


async def test_a_revision_that_was_asked_for_is_not_replaced(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    cache(models, tmp_path, "asr", "master")
    with pytest.raises(TranscriberError, match="as revision v9"):
        await make(models, model=MODEL, revision="v9").start()


async def test_a_model_that_is_nowhere_is_named_with_how_to_fetch_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    with pytest.raises(TranscriberError, match="modelscope download --model iic/speech_paraformer_asr-en") as caught:
        await make(models, model=MODEL).start()
    assert f"--revision {REVISION}" in str(caught.value) and "Nothing is downloaded" in str(caught.value)


async def test_an_incomplete_folder_is_named(models: Path, tmp_path: Path) -> None:
    broken = tmp_path / "asr"
    shutil.copytree(models / "asr", broken)
    (broken / "model.pt").unlink()
    with pytest.raises(TranscriberError, match=r"model\.pt is missing"):
        await make(models, model=broken).start()


def settings(models: Path, **folders: Path) -> ModelSettings:
    chosen = {name: str(folders.get(name, models / name)) for name in ("asr", "vad", "punc")}
    return ModelSettings(chosen["asr"], None, chosen["vad"], None, chosen["punc"], None, "cpu", 30.0)


async def test_folders_that_are_not_what_they_should_be_are_refused_before_the_first_clip(
    models: Path, tmp_path: Path
) -> None:
    """FunASR itself goes on with random weights, and with a model that does another job."""

    def variant(name: str, **files: bytes) -> Path:
        shutil.copytree(models / "asr", tmp_path / name)
        for file, content in files.items():
            (tmp_path / name / file.replace("_", ".")).write_bytes(content)
        return tmp_path / name

    weights = (models / "asr" / "model.pt").read_bytes()
    config = (models / "asr" / "config.yaml").read_text()
    tokens = json.loads((models / "asr" / "tokens.json").read_text())
    vad = (models / "vad" / "model.pt").read_bytes()
    run = f"\ntrust_remote_code: true\nremote_code: {tmp_path / 'code' / 'model.py'}\n"
    code = variant("code", config_yaml=(config + run).encode(), model_py=b"raise SystemExit('code of a model was run')")
    unnormalised = variant("unnormalised")
    (unnormalised / "am.mvn").unlink()
    cases = {
        "weights of another model": settings(models, asr=variant("other", model_pt=vad)),
        "tensors have other shapes": settings(
            models, asr=variant("longer", tokens_json=json.dumps([*tokens[:-1], "more", "<unk>"]).encode())
        ),
        "cut short": settings(models, asr=variant("cut", model_pt=weights[:-5000])),
        "cut short?": settings(models, asr=variant("empty", model_pt=b"")),
        "work as the recogniser": settings(models, asr=models / "punc"),
        "is no voice activity model": settings(models, vad=models / "asr"),
        "work as the punctuation model": settings(models, punc=models / "asr"),
    }
    worker = WorkerPool(python_worker("interbench.asr.funasr_worker"))
    try:
        for said, wrong in cases.items():
            with pytest.raises(WorkerError) as refused:
                await worker.call(settings_request(wrong, ()), 300)
            assert refused.value.code == "setup" and said in str(refused.value)
        loaded = await worker.call(settings_request(settings(models, asr=code), ()), 300)
        assert loaded["notes"] == []
        loaded = await worker.call(settings_request(settings(models, asr=unnormalised), ()), 300)
        assert len(loaded["notes"]) == 1 and "am.mvn" in loaded["notes"][0]
    finally:
        await worker.close()


async def test_a_gpu_that_is_not_there_is_named(models: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TranscriberError, match="no GPU"):
        await make(models, device="cuda").start()
