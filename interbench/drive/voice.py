"""The replies of avatars that have no voice of their own, spoken once per run and the same for every system.

Systems that only make the picture are given the reply as sound. One WAV file per turn and reply is kept in the run
folder, so that these systems differ in their pictures alone; it is made before a turn's clock starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from interbench.base.errors import ScriptError, UsageError
from interbench.base.foreign import NotJsonError, mapped, mended, number, parsed_json
from interbench.base.http import NoAnswerError, answered, post_again
from interbench.base.remote import Secret, base_url, excerpt
from interbench.domain.persona import Persona, Voice
from interbench.domain.records import Script
from interbench.media.speech import Speech, SynthesizerCommand, level, resample, synthesize, write_wav
from interbench.media.wav import WavError, decode_wav
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Run

RATE = 16_000
"""Samples per second of every reply: what wav2vec2 and its kin hear, so that no system resamples."""
_MAX_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Spoken:
    """One reply as sound."""

    path: Path
    """Mono 16-bit WAV at :data:`RATE`."""
    seconds: float
    sha256: str
    made_s: float
    """How long speaking it took, when it was made; no part of any latency."""

    def facts(self) -> dict[str, Any]:
        """What is kept of it with every turn that it was handed to."""
        return {"seconds": self.seconds, "sha256": self.sha256, "made_s": self.made_s}


class Speaker(Protocol):
    """Where the sound of replies comes from."""

    identity: Mapping[str, Any]
    """What the sound depends on."""

    async def speak(self, planned: PlannedScenario, turn: int, script: Script) -> Spoken:
        """The words of a turn (1-based) as sound."""
        ...


class Synthesizer(Protocol):
    """Makes sound of words."""

    identity: Mapping[str, Any]

    async def __call__(self, text: str, persona: Persona) -> Speech: ...


class ReplySpeaker:
    """Speaks each reply once and keeps it in the run folder.

    Args:
        run: where the sound is kept.
        synthesizer: makes it.
    """

    def __init__(self, run: Run, synthesizer: Synthesizer) -> None:
        self._run = run
        self._synthesizer = synthesizer
        self._locks: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.identity: Mapping[str, Any] = {**synthesizer.identity, "rate": RATE}

    async def speak(self, planned: PlannedScenario, turn: int, script: Script) -> Spoken:
        """The words of a turn as sound: that of an earlier invocation where words, voice and speaker are the same.

        Raises:
            InterbenchError: no sound can be made of it.
        """
        async with self._locks[planned.scenario.id, turn]:
            path = self._run.speech_path(planned.scenario.id, turn, self._digest(script.text, planned.persona.voice))
            if (known := await asyncio.to_thread(kept, path)) is not None:
                return known
            began = time.monotonic()
            speech = await self._synthesizer(script.text, planned.persona)
            if not speech.samples.size or not speech.samples.any():
                raise ScriptError(
                    f"The synthesizer makes no sound of the reply to turn {turn} of {planned.scenario.id} "
                    f"({excerpt([script.text], 80)!r}); choose another with --speech."
                )
            return await asyncio.to_thread(keep, path, speech, time.monotonic() - began)

    def _digest(self, text: str, voice: Voice) -> str:
        parts = [text, voice.model_dump(mode="json"), dict(self.identity)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def keep(path: Path, speech: Speech, made_s: float) -> Spoken:
    """Write ``speech`` as every system gets it: at one rate and loudness, whole or not at all."""
    speech = level(resample(speech, RATE))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    write_wav(temporary, speech)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    spoken = Spoken(path, round(len(speech.samples) / RATE, 3), digest, round(made_s, 3))
    path.with_suffix(".json").write_text(json.dumps(spoken.facts()) + "\n", encoding="utf-8")
    temporary.replace(path)
    return spoken


def kept(path: Path) -> Spoken | None:
    """What :func:`keep` has left at ``path``; None if it is not there, or is no longer what was left."""
    try:
        facts = mapped(parsed_json(path.with_suffix(".json").read_bytes()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, NotJsonError):
        return None
    seconds, made_s = number(facts.get("seconds")), number(facts.get("made_s"))
    if seconds is None or made_s is None or facts.get("sha256") != digest:
        return None
    return Spoken(path, seconds, digest, made_s)


class Espeak:
    """The core's synthesizer, in the persona's own voice."""

    identity: Mapping[str, Any] = {"speech": "espeak-ng"}

    async def __call__(self, text: str, persona: Persona) -> Speech:
        return await asyncio.to_thread(synthesize, text, persona.voice)


class SpeechCommand:
    """Another synthesizer, as a command line.

    Args:
        command: as for ``interbench speak --command``: with ``{text}`` or ``{text_file}``, and ``{out}``.
        timeout_s: for one reply.
    """

    def __init__(self, *, command: str, timeout_s: float = 120.0) -> None:
        self._command = SynthesizerCommand(command, timeout_s)
        self.identity: Mapping[str, Any] = {"speech": "command", "command": command}

    async def __call__(self, text: str, persona: Persona) -> Speech:
        return await asyncio.to_thread(self._command, text, persona.voice)


class SpeechServer:
    """An OpenAI-compatible ``/v1/audio/speech`` endpoint.

    Args:
        url: the server's address.
        model: the model's name there.
        voice: a voice's name, or names by persona id, gender or ``default``.
        key_env: name of the environment variable that holds the server's key; None for no key.
        timeout_s: for one reply.

    Raises:
        UsageError: the address or the key's variable is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        voice: str | Mapping[str, str] = "alloy",
        key_env: str | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self._url = base_url(url) + "/v1/audio/speech"
        self._model, self._voice = model, voice
        self._secret = Secret(key_env)
        self._timeout_s = timeout_s
        named = voice if isinstance(voice, str) else dict(voice)
        self.identity: Mapping[str, Any] = {"speech": "server", "model": model, "voice": named}

    async def __call__(self, text: str, persona: Persona) -> Speech:
        body = {"model": self._model, "input": text, "voice": self._name(persona), "response_format": "wav"}
        data = await self._ask(body)
        try:
            samples, header = decode_wav(data)
        except WavError as error:
            shown = excerpt([mended(data[:200].decode(errors="replace"))])
            raise self._trouble(f"its answer is no WAV file ({error}): {shown}") from None
        return Speech(samples.mean(axis=1), header.rate)

    def _name(self, persona: Persona) -> str:
        if isinstance(self._voice, str):
            return self._voice
        for key in (persona.id, persona.gender, "default"):
            if key in self._voice:
                return self._voice[key]
        raise UsageError(
            f"speech_options name no voice for {persona.id} ({persona.gender}); add one under its id, its gender or "
            f"'default'."
        )

    async def _ask(self, body: Mapping[str, Any]) -> bytes:
        headers = self._secret.headers()
        try:
            response, data = await post_again(
                self._url, body, headers=headers, timeout_s=self._timeout_s, limit=_MAX_ANSWER_BYTES
            )
        except NoAnswerError as error:
            raise self._trouble(str(error)) from None
        if response.status_code != 200:
            raise self._trouble(answered(response, data))
        return data

    def _trouble(self, why: str) -> ScriptError:
        return ScriptError(
            f"The server at {self._url}, which speaks the avatars' replies, can't be used: {self._secret.redact(why)}. "
            f"Check its address, and the model and the voice in speech_options. The same command goes on from here."
        )
