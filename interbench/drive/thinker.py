"""Words and voice from one model that hears the user: Qwen3-Omni and its kin behind an OpenAI-compatible server.

The request is that of chat completions with sound: the user's recording as ``input_audio``, and ``modalities`` text and
audio in the answer. vLLM-Omni gives a choice per modality (read in its release 0.30), OpenAI both in one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interbench.base.bundled import data_path
from interbench.base.errors import ScriptError
from interbench.base.foreign import NotJsonError, decoded, listed, mapped, parsed_json
from interbench.base.http import NoAnswerError, answered, post_again
from interbench.base.remote import Secret, base_url
from interbench.domain.records import Script
from interbench.drive.script import scripted_line
from interbench.drive.speech import HANDED_OVER, UserSpeech
from interbench.drive.voice import RATE, Spoken, keep, kept
from interbench.media.pool import MediaPool
from interbench.media.speech import Speech
from interbench.media.wav import WavError, decode_wav
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Run
from interbench.systems.prompting import template

_MAX_ANSWER_BYTES = 256 * 2**20


class ThinkerWriter:
    """Hears the user, makes up the reply and speaks it; the same reply for every system of a run.

    Args:
        run: where replies and their sound are kept.
        url: the server's address.
        model: the model's name there.
        words: about how many words a reply may have; the model is asked to keep to it, and nothing is cut off, because
            the sound could not be cut with the words.
        voice: the speaker's name; None for the model's default.
        seed: sent with every request.
        key_env: name of the environment variable that holds the server's key; None for no key.
        timeout_s: for one reply.

    Raises:
        UsageError: the address or the key's variable is wrong.
    """

    def __init__(
        self,
        run: Run,
        url: str,
        *,
        model: str,
        words: int = 40,
        voice: str | None = None,
        seed: int = 0,
        key_env: str | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self._run = run
        self._url = base_url(url) + "/v1/chat/completions"
        self._model, self._budget, self._voice, self._seed = model, words, voice, seed
        self._secret = Secret(key_env)
        self._timeout_s = timeout_s
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        prompt = hashlib.sha256((data_path("prompts") / "systems" / "script.j2").read_bytes()).hexdigest()
        self.words: Mapping[str, Any] = {"model": model, "words": words, "seed": seed, "prompt": prompt}
        self.identity: Mapping[str, Any] = {"speech": "thinker", "model": model, "voice": voice, "rate": RATE}
        self._key = run.identify("script", model, {**self.words, "thinker": True, "voice": voice})

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        """What the avatar says in a turn (1-based); the replies before it are made first.

        Raises:
            ScriptError: the model gives no reply, or none with sound.
        """
        async with self._locks[planned.scenario.id]:
            known = self._run.scripts(self._key, planned.scenario.id)
            for index in range(1, turn + 1):
                said = known.get(index)
                if said is None or kept(self._run.speech_path(planned.scenario.id, index, self._digest(said))) is None:
                    known[index] = await self._answer(planned, index, known)
                    self._run.record_script(self._key, planned.scenario.id, index, known[index])
            return known[turn]

    async def speak(self, planned: PlannedScenario, turn: int, script: Script) -> Spoken:
        """The sound that came with the words."""
        spoken = kept(self._run.speech_path(planned.scenario.id, turn, self._digest(script)))
        if spoken is None:
            raise ScriptError(
                f"The sound of the reply to turn {turn} of {planned.scenario.id} is no longer in the run folder; "
                f"restore its folder 'speech', or give the run a new folder with --out."
            )
        # Words and sound come in one answer: how long it took stands with the words.
        return replace(spoken, made_s=0.0)

    def _digest(self, script: Script) -> str:
        return hashlib.sha256(f"{self._key}\0{script.text}".encode()).hexdigest()

    async def _answer(self, planned: PlannedScenario, turn: int, known: Mapping[int, Script]) -> Script:
        began = time.monotonic()
        answer = await self._ask(
            {
                "model": self._model,
                "messages": await self._messages(planned, turn, known),
                "modalities": ["text", "audio"],
                "audio": {"format": "wav", **({"voice": self._voice} if self._voice else {})},
                **({"speaker": self._voice} if self._voice else {}),
                "seed": self._seed,
            }
        )
        text, speech = self._read(answer)
        text = " ".join(text.split())
        if not text:
            raise self._trouble(f"it gives no words for turn {turn} of {planned.scenario.id}")
        script = Script(text, 0, time.monotonic() - began)
        path = self._run.speech_path(planned.scenario.id, turn, self._digest(script))
        await asyncio.to_thread(keep, path, speech, script.seconds)
        return script

    async def _messages(self, planned: PlannedScenario, turn: int, known: Mapping[int, Script]) -> list[dict[str, Any]]:
        system = template("script.j2").render(persona=planned.persona, words=self._budget)
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for index, said in enumerate(planned.scenario.turns[:turn], start=1):
            variant = scripted_line(planned, index, known.get(index - 1)).variant
            if index < turn:
                messages.append({"role": "user", "content": said.line(variant)})
                messages.append({"role": "assistant", "content": known[index].text})
                continue
            sound = await self._playable(planned.line_audio(index, variant))
            if sound is None:
                messages.append({"role": "user", "content": said.line(variant)})
                continue
            data = base64.b64encode(await asyncio.to_thread(sound.read_bytes)).decode()
            heard = {"data": data, "format": sound.suffix.lower().lstrip(".")}
            messages.append({"role": "user", "content": [{"type": "input_audio", "input_audio": heard}]})
        return messages

    async def _playable(self, recorded: Path | None) -> Path | None:
        """What the user says, as WAV or MP3."""
        if recorded is None or recorded.suffix.lower() in HANDED_OVER:
            return recorded
        async with MediaPool() as media:
            return await UserSpeech(media, self._run.speech_folder).playable(recorded)

    def _read(self, answer: Mapping[str, Any]) -> tuple[str, Speech]:
        text, sound = "", ""
        for choice in listed(answer.get("choices")):
            message = mapped(mapped(choice).get("message"))
            audio = mapped(message.get("audio"))
            content = message.get("content")
            text = text or (content if isinstance(content, str) else "") or str(audio.get("transcript") or "")
            sound = sound or str(audio.get("data") or "")
        if not sound:
            raise self._trouble(
                "its answer has no sound; serve the model with its talker, and name it in words_options"
            )
        try:
            samples, header = decode_wav(decoded(sound))
        except (ValueError, WavError) as error:
            raise self._trouble(f"the sound of its answer is no WAV file ({error})") from None
        return text, Speech(samples.mean(axis=1), header.rate)

    async def _ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = self._secret.headers()
        try:
            response, data = await post_again(
                self._url, body, headers=headers, timeout_s=self._timeout_s, limit=_MAX_ANSWER_BYTES
            )
        except NoAnswerError as error:
            raise self._trouble(str(error)) from None
        if response.status_code != 200:
            raise self._trouble(answered(response, data))
        return self._object(data)

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            return mapped(parsed_json(data))
        except NotJsonError as error:
            raise self._trouble(f"its answer is no JSON ({error})") from None

    def _trouble(self, why: str) -> ScriptError:
        return ScriptError(
            f"The server at {self._url}, which thinks and speaks for the avatars, can't be used: "
            f"{self._secret.redact(why)}. The same command goes on from here once it can."
        )
