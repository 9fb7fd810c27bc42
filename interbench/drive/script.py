"""Scripted replies: a language model writes what the avatars say, once per run and the same for every system.

The protocol ``scripted`` compares how systems perform given words. A reply depends on the scenario, the persona, the
model and the word budget alone, never on a system: it is written before a turn's clock starts and kept in the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from typing import Any, Protocol

import httpx

from interbench.base.bundled import data_path
from interbench.base.errors import ScriptError
from interbench.base.remote import Secret, base_url, excerpt, retry_after
from interbench.domain.records import Script
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Run
from interbench.systems.prompting import cut_words, template

DEFAULT_WORDS = 16
"""They fit a clip of 8 s: 2.3 words a second, and half a second before and after."""
_ATTEMPTS = 6
_MAX_WAIT_S = 120.0


class Writer(Protocol):
    """Where the words of avatars come from that are told what to say."""

    async def reply(self, part: PlannedScenario, turn: int) -> Script:
        """What the avatar says in a turn (1-based)."""
        ...


class ReferenceWriter:
    """The scenario author's own replies, cut to a budget: for trying out an adapter without any language model."""

    async def reply(self, part: PlannedScenario, turn: int) -> Script:
        text, cut = cut_words(part.references[turn - 1].reply, DEFAULT_WORDS)
        return Script(text, cut)


class ScriptWriter:
    """Writes replies with a chat model on an OpenAI-compatible server, at temperature 0 and with a seed.

    Args:
        run: where replies are kept.
        url: the server's address.
        model: the model's name there.
        words: most words of a reply.
        seed: sent with every request.
        key_env: name of the environment variable that holds the server's key; None for no key.
        timeout_s: for one request.

    Raises:
        UsageError: the address or the key's variable is wrong.
    """

    def __init__(
        self,
        run: Run,
        url: str,
        *,
        model: str,
        words: int = DEFAULT_WORDS,
        seed: int = 0,
        key_env: str | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self._run = run
        self._url = base_url(url) + "/v1/chat/completions"
        self._model = model
        self.words = words
        self._seed = seed
        self._secret = Secret(key_env)
        self._timeout_s = timeout_s
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        prompt = (data_path("prompts") / "systems" / "script.j2").read_bytes()
        self.identity = {"model": model, "words": words, "seed": seed, "prompt": hashlib.sha256(prompt).hexdigest()}
        """What the replies depend on."""
        self._key = run.identify("script", model, self.identity)

    async def reply(self, part: PlannedScenario, turn: int) -> Script:
        """What the avatar says in a turn (1-based); the replies before it are written first.

        Raises:
            ScriptError: the model gives no reply.
        """
        async with self._locks[part.scenario.id]:
            known = self._run.scripts(self._key, part.scenario.id)
            for index in range(1, turn + 1):
                if index not in known:
                    known[index] = await self._write(part, index, known)
                    self._run.record_script(self._key, part.scenario.id, index, known[index])
            return known[turn]

    async def _write(self, part: PlannedScenario, turn: int, known: dict[int, Script]) -> Script:
        system = template("script.j2").render(persona=part.persona, words=self.words)
        messages = [{"role": "system", "content": system}]
        for index, said in enumerate(part.scenario.turns[:turn], start=1):
            messages.append({"role": "user", "content": said.text})
            if index < turn:
                messages.append({"role": "assistant", "content": known[index].text})
        began = time.monotonic()
        answer = await self._ask(
            {
                "model": self._model,
                "messages": messages,
                "temperature": 0,
                "seed": self._seed,
                "max_tokens": 8 * self.words + 64,
            }
        )
        text, cut = cut_words(" ".join(answer.split()), self.words)
        if not text:
            raise ScriptError(
                f"The model {self._model!r} wrote no reply to turn {turn} of {part.scenario.id}. A model that thinks "
                f"before it answers may need its thinking turned off."
            )
        return Script(text, cut, time.monotonic() - began)

    async def _ask(self, body: dict[str, Any]) -> str:
        """The model's answer. Asked again after any failure of the server: a chat answer costs next to nothing."""
        problem, wait = "", 1.0
        async with httpx.AsyncClient(timeout=self._timeout_s, headers=self._secret.headers()) as client:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(min(wait, _MAX_WAIT_S))
                try:
                    response = await client.post(self._url, json=body)
                except httpx.TransportError as error:
                    problem, wait = f"can't be reached ({type(error).__name__})", 2.0**attempt
                    continue
                if response.status_code in (408, 429) or response.status_code >= 500:
                    problem = f"answered {response.status_code}"
                    asked = retry_after(response.headers.get("retry-after"))
                    wait = 2.0**attempt if asked is None else asked
                    continue
                if response.is_error:
                    words = self._secret.redact(excerpt([response.text]))
                    raise ScriptError(
                        f"The server at {self._url}, which writes the avatars' replies, answered "
                        f"{response.status_code}: {words}. Check the model's name and the key in script_options."
                    )
                return self._text(response)
        raise ScriptError(
            f"The server at {self._url}, which writes the avatars' replies, {problem}, {_ATTEMPTS} times in a row. The "
            f"same command goes on from here once it answers."
        )

    def _text(self, response: httpx.Response) -> str:
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            content = None
        if not isinstance(content, str):
            raise ScriptError(
                f"The server at {self._url} does not answer like an OpenAI-compatible chat server: "
                f"{self._secret.redact(excerpt([response.text]))}"
            )
        return content
