"""The judge of the protocol: a vision-language model behind an OpenAI-compatible server, made for Qwen3-VL on vLLM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from interbench.base.errors import JudgeError, UsageError
from interbench.base.options import Inline
from interbench.base.remote import Secret, base_url, is_loopback
from interbench.domain.records import PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.vlm.client import Server, UnavailableError
from interbench.judge.vlm.interview import CallTotals, Interview, JudgeConnection
from interbench.judge.vlm.likeness import Likeness, likeness, unlike
from interbench.judge.vlm.messages import make_case
from interbench.judge.vlm.probe import Served, check_frames, served
from interbench.judge.vlm.rejections import Rejections
from interbench.judge.vlm.rubrics import Prompts
from interbench.judge.vlm.schedule import Throttle, server_of
from interbench.judge.vlm.settings import JudgeSettings

MODEL_VARIABLE = "INTERBENCH_JUDGE_MODEL"
KEY_VARIABLE = "INTERBENCH_JUDGE_KEY"

_NOT_IDENTITY = frozenset(
    {"media", "concurrency", "patience", "prompts", "repeats", "seed", "prompt_price", "completion_price"}
)
_IF_SET = frozenset({"omit", "rename", "word_budget"})
_UNSAID = {"mode": "published", "sampling": "even"}
"""What the settings were before they could be set: not named, so that such verdicts keep their identity."""


class VLMJudge(Judge):
    """A vision-language model behind OpenAI-compatible servers (see judge-server).

    Within a conversation one dimension goes first; when it has begun to answer, the server holds the videos and the
    transcript in its prefix cache and the other dimensions follow together. A conversation stays with one server.

    Args:
        urls: base addresses of servers that serve the same model; as one text they are separated by commas.
        model: the name under which they serve it. None: what ``INTERBENCH_JUDGE_MODEL`` says, else the only one there
            is.
        api_key_env: name of the environment variable that holds the servers' key. None: ``INTERBENCH_JUDGE_KEY``, if it
            is set.
        settings: see :class:`JudgeSettings`.
        sleep: how to wait between attempts.

    Raises:
        UsageError: an address is wrong or the key is not in the environment.
        JudgeError: the prompts can't be used.
    """

    hands_over_files = True

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str | None = None,
        api_key_env: str | None = None,
        settings: Annotated[JudgeSettings | None, Inline()] = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings or JudgeSettings()
        model = model or os.environ.get(MODEL_VARIABLE)
        if not api_key_env and KEY_VARIABLE in os.environ:
            api_key_env = KEY_VARIABLE
        listed = urls.split(",") if isinstance(urls, str) else urls
        self.urls = tuple(dict.fromkeys(base_url(url) for url in listed))
        if not self.urls:
            raise UsageError("The judge needs the address of at least one server.")
        self.label = "vlm" if model is None else _short(model)
        self.max_conversations = len(self.urls) * max(2, self.settings.concurrency // 4)
        self._model = model
        self._secret = Secret(api_key_env)
        self._prompts = Prompts(self.settings.mode, self.settings.prompts)
        self.shown = self.settings.shown
        self._sleep = sleep
        self._connections: list[JudgeConnection] = []
        self._totals = CallTotals()

    def show_key(self, secret: Secret) -> None:
        """Show this key to the servers instead of one from the environment: they were started with it."""
        self._secret = secret

    async def start(self) -> None:
        connections: list[JudgeConnection] = []
        servers = [
            Server(
                url, self._secret, Throttle(most=self.settings.concurrency), self.settings.patience, sleep=self._sleep
            )
            for url in self.urls
        ]
        try:
            for server in servers:
                server.tell = self.tell
                # One after the other: the first trouble ends it.
                connections.append(await self._connection(server))
            first = connections[0]
            for connection in connections[1:]:
                if _identity(connection.served, self.urls) != _identity(first.served, self.urls):
                    raise JudgeError(
                        f"The judge's servers differ: {first.server.url} serves {_named(first.served)}, "
                        f"{connection.server.url} serves {_named(connection.served)}. Verdicts of different judges "
                        f"can't be mixed; give servers of the same model and context."
                    )
                if connection.likeness and first.likeness and (why := connection.likeness.difference(first.likeness)):
                    raise JudgeError(
                        f"The judge's servers {first.server.url} and {connection.server.url} both serve "
                        f"{_named(first.served)}, but not the same weights: the second shows that {why}. Verdicts of "
                        f"different judges can't be mixed."
                    )
        except BaseException:
            for server in servers:
                await server.close()
            raise
        self._connections = connections
        self.label = _short(first.served.root or first.served.model)

    async def _connection(self, server: Server) -> JudgeConnection:
        what = await served(server, self._model)
        vocabulary = None
        if self.settings.verify_frames:
            vocabulary = await check_frames(server, what, self.settings.view, portrait=self._prompts.shows_portrait)
            if vocabulary is None:
                self._totals.remarks.add(
                    f"The server {server.url} can't say what the model sees of videos: frames and pixels are unchecked."
                )
        looks = await self._likeness(server, what)
        server.guard(partial(_recognise, server, what, looks))
        local = is_loopback(server.url) or self.settings.media == "file"
        reads_files = None if local else False
        return JudgeConnection(server, what, vocabulary, looks, self.settings.media, reads_files, Rejections(server))

    async def _likeness(self, server: Server, what: Served) -> Likeness | None:
        if not what.is_vllm:
            return None
        try:
            looks = await likeness(server, what.model)
        except UnavailableError:
            looks = None
        if looks is None:
            self._totals.remarks.add(
                f"The server {server.url} does not tell log-probabilities of a prompt: only by its model's name would "
                f"a restart with another checkpoint be noticed."
            )
        return looks

    def identity(self) -> Mapping[str, Any]:
        """See :meth:`Judge.identity`. What is served is known only after :meth:`start`, so ask after it.

        Raises:
            JudgeError: the judge has not been started.
        """
        if not self._connections:
            raise JudgeError("The judge must be started before it can say which model it is.")
        connection = self._connections[0]
        settings = {k: v for k, v in asdict(self.settings).items() if k not in _NOT_IDENTITY}
        # What is sent as it always was keeps the identity that it always had.
        settings = {k: v for k, v in settings.items() if k not in _IF_SET or v}
        settings = {k: v for k, v in settings.items() if v != _UNSAID.get(k)}
        return {
            "judge": "vlm",
            "served": _identity(connection.served, self.urls),
            "frames_checked": connection.vocabulary is not None,
            **settings,
            "first_seed": self.settings.seed_of(0),
            "rubrics": {key: rubric.sha256 for key, rubric in self._prompts.rubrics.items()},
        }

    def likeness(self) -> Mapping[str, Any] | None:
        looks = self._connections[0].likeness
        return None if looks is None else looks.record()

    def recognise(self, likeness: Mapping[str, Any]) -> None:
        connection = self._connections[0]
        if connection.likeness is not None and (why := connection.likeness.difference(Likeness.read(likeness))):
            raise JudgeError(
                f"The judge's server {connection.server.url} names {_named(connection.served)}, as the one that gave "
                f"this run's verdicts did, but {why}. Verdicts of different judges can't be mixed: serve the earlier "
                f"checkpoint again, or this one under a path of its own."
            )

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        if not self._connections:
            raise JudgeError("The judge must be started before it can judge.")
        if not tasks:
            return
        connection = self._connections[server_of(conversation.affinity, self.urls)]
        case = await asyncio.to_thread(
            make_case,
            conversation,
            self._prompts,
            self.settings.view,
            seen=connection.vocabulary is not None,
            word_budget=self.settings.word_budget,
        )
        interview = Interview(
            case,
            conversation.system,
            conversation.scenario.id,
            connection,
            self.settings,
            self._prompts,
            self._secret,
            self._totals,
        )
        primed = asyncio.Event()
        known: asyncio.Queue[Verdict | BaseException] = asyncio.Queue()

        async def give(task: JudgeTask, *, first: bool) -> None:
            try:
                if first:
                    verdict = await interview.verdict(task, primed.set)
                else:
                    await primed.wait()
                    verdict = await interview.verdict(task)
                known.put_nowait(verdict)
            except Exception as error:
                known.put_nowait(error)
            finally:
                primed.set()

        running = [asyncio.create_task(give(task, first=index == 0)) for index, task in enumerate(tasks)]
        try:
            for _ in tasks:
                result = await known.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            for task_in_progress in running:
                task_in_progress.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def forget(self) -> bool:
        """Empty the servers' caches of prefixes and of videos; vLLM does so in its development mode alone."""
        emptied = [await connection.server.forget() for connection in self._connections]
        return bool(emptied) and all(emptied)

    def summary(self) -> Mapping[str, Any]:
        """Tokens of all prompts, computed and reused, and what else is worth telling of the run."""
        totals = self._totals
        reused = totals.reused_tokens
        return {
            "calls": totals.calls,
            "prompt_tokens": totals.prompt_tokens,
            "prompt_tokens_reused": reused,
            "prompt_tokens_computed": None if reused is None else totals.prompt_tokens - reused,
            "completion_tokens": totals.completion_tokens,
            "asked_again": totals.asked_again,
            "videos_resent": totals.videos_resent,
            "retries": sum(connection.server.retries for connection in self._connections),
            "most_in_flight": max(
                (int(connection.server.throttle.highest) for connection in self._connections), default=0
            ),
            "usd": self._usd(),
            "remarks": sorted(totals.remarks),
        }

    def _usd(self) -> float | None:
        """What the tokens cost; None where no price was set."""
        read, written = self.settings.prompt_price, self.settings.completion_price
        if read is None and written is None:
            return None
        totals = self._totals
        return (totals.prompt_tokens * (read or 0) + totals.completion_tokens * (written or 0)) / 1_000_000

    async def stop(self) -> None:
        for connection in self._connections:
            await connection.server.close()


async def _recognise(server: Server, known: Served, looks: Likeness | None) -> None:
    """Raise :class:`JudgeError` if the server's model is not the one that it served when the run began."""
    now = await served(server, known.model)
    if _identity(now, (server.url,)) != _identity(known, (server.url,)):
        why = f"it serves {_named(now)} instead of {_named(known)}"
    elif looks is not None and (difference := await unlike(server, known.model, looks)):
        why = f"it still names {_named(known)}, but {difference}"
    else:
        return
    raise JudgeError(
        f"The judge's server {server.url} is no longer the one that began this run: {why}. Verdicts of different "
        f"judges can't be mixed. Serve the earlier checkpoint again and repeat the command to go on, or judge with the "
        f"new one from the beginning, under a path of its own."
    )


def _identity(what: Served, urls: Sequence[str]) -> dict[str, Any]:
    """Which model it is. Without a checkpoint's name the addresses must tell."""
    return {"model": what.root or f"{what.model} at {', '.join(sorted(urls))}", "context": what.context}


def _named(what: Served) -> str:
    return f"{what.root or what.model} (context {what.context or 'unknown'})"


def _short(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1]
