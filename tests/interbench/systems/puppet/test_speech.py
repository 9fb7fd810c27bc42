from __future__ import annotations

import hashlib
import itertools
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from interbench.domain.persona import Persona, Voice
from interbench.media import speech
from interbench.media.speech import (
    Speech,
    SpeechError,
    SynthesizerCommand,
    check_voice,
    level,
    read_wav,
    resample,
    synthesize,
    trim,
    write_wav,
)


def test_phonemes_and_words_lie_in_order_within_the_speech() -> None:
    said = synthesize("Bob met my mother.", Voice(variant="en-us+f3"))
    assert "".join(name for name, _, _ in said.phonemes).startswith("bˈɑː")
    assert [word for word, _, _ in said.words] == ["Bob", "met", "my", "mother"]
    for spans in (said.phonemes, said.words):
        assert all(start < end <= said.duration_s + 1e-6 for _, start, end in spans)
        assert all(left[2] <= right[1] + 1e-6 for left, right in itertools.pairwise(spans))


def test_a_vowel_is_louder_than_the_closure_before_it() -> None:
    said = synthesize("Papa.")
    p, a = next(span for span in said.phonemes if span.text == "p"), next(s for s in said.phonemes if "ɑ" in s.text)

    def loudness(start: float, end: float) -> float:
        return float(np.sqrt(np.square(said.samples[round(start * said.rate) : round(end * said.rate)]).mean()))

    assert loudness(a.start_s, a.end_s) > 2 * loudness(p.start_s, p.end_s)


@pytest.mark.parametrize("variant", ["en-us", "en-gb+f3", "en-gb-scotland+m3", "en-gb+whisper", "en-us+klatt2"])
def test_the_same_text_gives_the_same_samples(variant: str) -> None:
    voice = Voice(variant=variant)
    first = synthesize("Six thin thistles.", voice)
    synthesize("Something else in between.", Voice(variant="en-us+m1"))
    assert np.array_equal(first.samples, synthesize("Six thin thistles.", voice).samples)


def test_another_process_at_another_time_gives_the_same_samples() -> None:
    code = (
        "import hashlib; from interbench.domain.persona import Voice; from interbench.media.speech import synthesize;"
        "said = synthesize('Six thin thistles.', Voice(variant='en-us+f3'));"
        "print(hashlib.sha256(said.samples.tobytes()).hexdigest())"
    )
    here = hashlib.sha256(synthesize("Six thin thistles.", Voice(variant="en-us+f3")).samples.tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert there.stdout.strip() == here


def test_threads_do_not_disturb_each_other() -> None:
    texts = [f"Number {index}." for index in range(6)]
    alone = [synthesize(text).samples for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = [said.samples for said in pool.map(synthesize, texts)]
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_markup_is_read_out_and_control_characters_are_dropped() -> None:
    assert "break" in [word for word, _, _ in synthesize("Wait <break time='9s'/> here.").words]
    assert synthesize("Wait <break time='9s'/> here.").duration_s < 6
    # espeak-ng takes a CTRL-A as the start of a command, here: speed 450.
    assert np.array_equal(synthesize("\x01450s slow down").samples, synthesize("450s slow down").samples)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x07"])
def test_nothing_to_say_gives_no_samples(text: str) -> None:
    said = synthesize(text)
    assert (len(said.samples), said.phonemes, said.words) == (0, (), ())


@pytest.mark.parametrize("text", ["🙂🎉", "你好,世界", "Привет", "…", "naïve café — 50 %", "\ud800x", "שלום"])
def test_any_text_survives(text: str) -> None:
    said = synthesize(text)
    assert np.isfinite(said.samples).all()


def test_too_long_a_text_is_refused_rather_than_cut() -> None:
    with pytest.raises(SpeechError, match="more than 2 seconds"):
        synthesize("word " * 200, max_s=2)
    assert synthesize("Fine again.").duration_s > 0.3


@pytest.mark.parametrize(("variant", "message"), [("en-us+nobody", "no voice variant"), ("qq", "no language 'qq'")])
def test_unknown_voices_are_named(variant: str, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        check_voice(Voice(variant=variant))


def test_every_persona_has_a_voice_that_exists_and_no_two_the_same(personas: list[Persona]) -> None:
    for persona in personas:
        check_voice(persona.voice)
    assert len({synthesize("Hello.", persona.voice).samples.tobytes() for persona in personas}) == len(personas)


def test_data_under_a_long_path_still_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 60)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    expected = synthesize("Deep down.").samples
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep / "espeak-ng-data"))
    speech._data.cache_clear()
    try:
        assert np.array_equal(synthesize("Deep down.").samples, expected)
    finally:
        speech._data.cache_clear()


def test_trim_takes_silence_from_both_ends_and_moves_the_words() -> None:
    said = synthesize("Hello there.")
    quiet = np.zeros(said.rate, np.float32)
    spans = tuple(span._replace(start_s=span.start_s + 1, end_s=span.end_s + 1) for span in said.words)
    padded = Speech(np.concatenate([quiet, said.samples, quiet]), said.rate, words=spans)
    cut = trim(padded, keep_s=0.05)
    assert cut.duration_s < said.duration_s + 0.1
    loud = np.abs(cut.samples) > 0.02
    assert 0.03 < np.argmax(loud) / cut.rate < 0.08
    assert cut.words[0].start_s < 0.1
    assert cut.words[-1].end_s <= cut.duration_s


def test_level_brings_speech_to_the_same_loudness_without_clipping() -> None:
    said = synthesize("Hello there, how are you?")
    quiet = Speech(said.samples * 0.05, said.rate)
    one, other = level(said), level(quiet)
    assert np.allclose(one.samples, other.samples, atol=1e-4)
    assert np.abs(level(said, loudness_db=0.0).samples).max() <= 10 ** (-1 / 20) + 1e-6
    silence = Speech(np.zeros(1000, np.float32), 16_000)
    assert not level(silence).samples.any()


def test_resample_keeps_pitch_and_length() -> None:
    time = np.arange(22_050) / 22_050
    tone = resample(Speech(np.sin(2 * np.pi * 440 * time).astype(np.float32), 22_050))
    assert (tone.rate, len(tone.samples)) == (16_000, 16_000)
    assert np.argmax(np.abs(np.fft.rfft(tone.samples))) == 440


def test_wav_files_keep_what_was_said(tmp_path: Path) -> None:
    said = synthesize("Round trip.")
    write_wav(tmp_path / "a.wav", said)
    back = read_wav(tmp_path / "a.wav")
    assert back.rate == said.rate
    assert np.abs(back.samples - said.samples).max() < 1e-4
    (tmp_path / "b.wav").write_bytes(b"RIFF....not audio")
    with pytest.raises(SpeechError, match="not a WAV file"):
        read_wav(tmp_path / "b.wav")


_WRITER = """
import sys, wave
out, text, rate = sys.argv[1:]
with wave.open(out, "wb") as file:
    file.setnchannels(2); file.setsampwidth(2); file.setframerate(8000)
    file.writeframes(bytes(4 * int(rate) * len(text)))
"""


def test_another_synthesizer_is_a_command_line(tmp_path: Path) -> None:
    script = tmp_path / "say.py"
    script.write_text(_WRITER)
    command = SynthesizerCommand(f"{shlex.quote(sys.executable)} {script} {{out}} {{text}} {{rate}}")
    text = 'it\'s; $(touch hacked) {rate} "x"'
    said = command(text, Voice(rate=100))
    assert (said.rate, len(said.samples)) == (8000, 100 * len(text))
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no-such-program {out} {text}", "not on the PATH"),
        (f"{shlex.quote(sys.executable)} -c 'raise SystemExit(3)' {{out}} {{text}}", "status 3"),
        (f"{shlex.quote(sys.executable)} -c pass {{out}} {{text}}", "without a WAV file"),
    ],
)
def test_a_command_that_fails_is_named(template: str, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        SynthesizerCommand(template)("Hello.")


def test_a_command_needs_its_places() -> None:
    with pytest.raises(SpeechError, match="must name"):
        SynthesizerCommand("say hello")
