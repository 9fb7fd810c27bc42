"""Scripted replies: a language model writes what the avatars say, once per run and the same for every system.

The protocol ``scripted`` compares how systems perform given words. A reply depends on the scenario, the persona, the
model and the word budget alone, never on a system: it is written before a turn's clock starts and kept in the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import httpx

from interbench.base.bundled import data_path
from interbench.base.errors import ScriptError
from interbench.base.foreign import NotJsonError, mended, parsed_json
from interbench.base.http import ATTEMPTS, NoAnswerError, post_again, redirect
from interbench.base.parameters import adjusted, advice, check_adjustments
from interbench.base.remote import Secret, base_url, excerpt
from interbench.domain.guards import Chosen, choose
from interbench.domain.records import Script
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Run
from interbench.systems.prompting import cut_words, template

DEFAULT_WORDS = 16
"""They fit a clip of 8 s: 2.3 words a second, and half a second before and after."""
_MAX_ANSWER_BYTES = 4 * 2**20


class Writer(Protocol):
    """Where the words of avatars come from that are told what to say."""

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        """What the avatar says in a turn (1-based)."""
        ...


def scripted_line(planned: PlannedScenario, turn: int, before: Script | None) -> Chosen:
    """Which line the user says in a turn (1-based) after the scripted reply ``before``: the same for every system."""
    return choose(planned.scenario.turns[turn - 1], None if before is None else before.text, "reported")


class ReferenceWriter:
    """The scenario author's own replies, cut to a budget: for trying out an adapter without any language model."""

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        text, cut = cut_words(planned.references[turn - 1].reply, DEFAULT_WORDS)
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
        omit: parameters of the request that the server does not take.
        rename: other names of parameters, e.g. ``{"max_tokens": "max_completion_tokens"}``.

    Raises:
        UsageError: the address, the key's variable or another option is wrong.
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
        omit: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> None:
        check_adjustments("script_options", omit, rename or {})
        self._omit, self._rename = tuple(omit), dict(rename or {})
        self._run = run
        self._url = base_url(url) + "/v1/chat/completions"
        self._model = model
        self.words = words
        self._seed = seed
        self._secret = Secret(key_env)
        self._timeout_s = timeout_s
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        prompt = (data_path("prompts") / "systems" / "script.j2").read_bytes()
        changed = {"omit": sorted(self._omit), "rename": self._rename} if self._omit or self._rename else {}
        digest = hashlib.sha256(prompt).hexdigest()
        self.identity = {"model": model, "words": words, "seed": seed, "prompt": digest, **changed}
        """What the replies depend on."""
        self._key = run.identify("script", model, self.identity)

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        """What the avatar says in a turn (1-based); the replies before it are written first.

        Raises:
            ScriptError: the model gives no reply.
        """
        async with self._locks[planned.scenario.id]:
            known = self._run.scripts(self._key, planned.scenario.id)
            for index in range(1, turn + 1):
                if index not in known:
                    known[index] = await self._write(planned, index, known)
                    self._run.record_script(self._key, planned.scenario.id, index, known[index])
            return known[turn]

    async def _write(self, planned: PlannedScenario, turn: int, known: dict[int, Script]) -> Script:
        system = template("script.j2").render(persona=planned.persona, words=self.words)
        messages = [{"role": "system", "content": system}]
        for index, said in enumerate(planned.scenario.turns[:turn], start=1):
            line = scripted_line(planned, index, known.get(index - 1))
            messages.append({"role": "user", "content": said.line(line.variant)})
            if index < turn:
                messages.append({"role": "assistant", "content": known[index].text})
        began = time.monotonic()
        request = {
            "model": self._model,
            "messages": messages,
            "temperature": 0,
            "seed": self._seed,
            "max_tokens": 8 * self.words + 64,
        }
        answer = _without_thoughts(await self._ask(adjusted(request, self._omit, self._rename)))
        text, cut = cut_words(" ".join(answer.split()), self.words)
        if not text:
            raise ScriptError(
                f"The model {self._model!r} wrote no reply to turn {turn} of {planned.scenario.id}. A model that "
                f"thinks before it answers may need its thinking turned off."
            )
        return Script(text, cut, time.monotonic() - began)

    async def _ask(self, body: dict[str, Any]) -> str:
        """The model's answer."""
        headers = self._secret.headers()
        try:
            response, data = await post_again(
                self._url, body, headers=headers, timeout_s=self._timeout_s, limit=_MAX_ANSWER_BYTES
            )
        except NoAnswerError as error:
            if error.hopeless:
                raise self._no_server(str(error)) from None
            problem = f"can't be reached ({error})" if error.status is None else f"answered {error.status}"
            raise ScriptError(
                f"The server at {self._url}, which writes the avatars' replies, {problem}, {ATTEMPTS} times in a row. "
                f"The same command goes on from here once it answers."
            ) from None
        return self._answer(response, data)

    def _answer(self, response: httpx.Response, data: bytes) -> str:
        words = self._secret.redact(excerpt([mended(data.decode(errors="replace"))]))
        if response.status_code >= 400:
            parameters = ("temperature", "seed", "max_tokens")
            more = advice(words, parameters, "script_options") if response.status_code in (400, 422) else ""
            raise ScriptError(
                f"The server at {self._url}, which writes the avatars' replies, answered {response.status_code}: "
                f"{words}. Check the model's name and the key in script_options. {more}".rstrip()
            )
        if leads_elsewhere := redirect(response):
            raise self._no_server(leads_elsewhere)
        try:
            content = parsed_json(data)["choices"][0]["message"]["content"]
        except (NotJsonError, LookupError, TypeError):
            content = None
        if not isinstance(content, str):
            raise self._no_server(words)
        return content

    def _no_server(self, why: str) -> ScriptError:
        return ScriptError(f"The server at {self._url} does not answer like an OpenAI-compatible chat server: {why}")


def _without_thoughts(text: str) -> str:
    """What a reasoning model says after its thoughts; some leave out where these begin."""
    _, thought, said = text.rpartition("</think>")
    said = said if thought else text
    return said.partition("<think>")[0]
