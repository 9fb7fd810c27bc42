"""One conversation before the judge: how its videos travel, what is asked, and the verdict that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from interbench.base.errors import JudgeError
from interbench.base.foreign import whole
from interbench.base.parameters import adjusted
from interbench.base.remote import Secret
from interbench.domain.records import Missing, Verdict
from interbench.judge.base import JudgeTask
from interbench.judge.vlm.client import Completion, Failure, Server
from interbench.judge.vlm.expected import mean_score, score_probabilities
from interbench.judge.vlm.frames import View, Vocabulary, expected_view, views
from interbench.judge.vlm.likeness import Likeness
from interbench.judge.vlm.messages import Case, Delivery, Encoded
from interbench.judge.vlm.parsing import Reading, read_answer, spoken
from interbench.judge.vlm.probe import Served, check
from interbench.judge.vlm.rejections import Rejections
from interbench.judge.vlm.rubrics import Prompts, Rubric
from interbench.judge.vlm.settings import JudgeSettings

_ASKED_AGAIN = frozenset({Missing.UNPARSED, Missing.OUT_OF_SCALE, Missing.EMPTY, Missing.CUT_OFF})
_KEPT_ANSWER = 20_000
"""Characters of an answer that are kept in a verdict."""
_SHOWN_ANSWER = 4_000
"""Characters of its own answer that a judge is shown when it is asked again."""


@dataclass(slots=True)
class JudgeConnection:
    """A server, what is known about it, and how videos reach it."""

    server: Server
    served: Served
    vocabulary: Vocabulary | None
    """None: what the model sees can't be checked."""
    likeness: Likeness | None
    """None: only its name tells the model from others."""
    media: Literal["auto", "file", "data"]
    reads_files: bool | None
    """Whether the server may read clips from the file system; None until one was tried."""
    rejections: Rejections


@dataclass(slots=True)
class CallTotals:
    """Figures over a run."""

    calls: int = 0
    prompt_tokens: int = 0
    reused_tokens: int | None = 0
    """None once a server did not say."""
    completion_tokens: int = 0
    asked_again: int = 0
    videos_resent: int = 0
    remarks: set[str] = field(default_factory=set)

    def count(self, answer: Completion) -> None:
        self.calls += 1
        self.prompt_tokens += answer.prompt_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0
        if answer.cached_tokens is None or self.reused_tokens is None:
            self.reused_tokens = None
        else:
            self.reused_tokens += answer.cached_tokens


class Interview:
    """Asks one judge about one conversation.

    Args:
        case: the conversation.
        system, scenario: its names, for the verdicts.
        connection: where to ask.
        settings: how to ask.
        prompts: what to ask.
        secret: must not appear in anything that is kept.
        totals: is added to.
    """

    def __init__(
        self,
        case: Case,
        system: str,
        scenario: str,
        connection: JudgeConnection,
        settings: JudgeSettings,
        prompts: Prompts,
        secret: Secret,
        totals: CallTotals,
    ) -> None:
        self._case = case
        self._system = system
        self._scenario = scenario
        self._connection = connection
        self._settings = settings
        self._prompts = prompts
        self._secret = secret
        self._totals = totals
        self._encoded = Encoded(case, uuids=connection.served.is_vllm)
        self._deliveries = 0
        """How often the server was given the videos in full."""
        self._resending = asyncio.Lock()
        self._views: list[View] | None = None
        self._overflow: Failure | None = None

    async def verdict(self, task: JudgeTask, begun: Callable[[], None] | None = None) -> Verdict:
        """Ask for one verdict.

        Args:
            task: dimension and sample.
            begun: makes this the request that begins the conversation; called when its answer begins.

        Raises:
            JudgeError: the run can't go on like this.
        """
        rubric = self._prompts.rubrics[task.dimension]
        evidence: dict[str, Any] = {
            "judge": {
                "model": self._connection.served.root or self._connection.served.model,
                "engine": self._connection.served.engine,
            },
            "rubric": {"mode": self._prompts.mode, "version": rubric.version, "sha256": rubric.sha256},
            "messages_sha256": self._case.digest(rubric.text),
        }
        if self._case.portrait is not None:
            evidence["portrait"] = {"sha256": self._case.portrait.sha256}
        seed = self._settings.seed_of(task.sample)
        if seed is not None:
            evidence["seed"] = seed
        try:
            return await self._asked(task, rubric, self._parameters(seed), evidence, begun)
        except Failure as failure:
            message = self._secret.redact(str(failure))
            return self._verdict(task, None, failure.missing, message, evidence)

    async def _asked(
        self,
        task: JudgeTask,
        rubric: Rubric,
        parameters: dict[str, Any],
        evidence: dict[str, Any],
        begun: Callable[[], None] | None,
    ) -> Verdict:
        answer = await self._chat(rubric.text, parameters, begun=begun)
        evidence["videos"] = self._video_records()
        evidence["tokens"] = _usage(answer)
        evidence["seconds"] = round(answer.seconds, 3)
        reading = self._read(answer, rubric)
        final, more = answer, []
        if reading.missing in _ASKED_AGAIN:
            self._totals.asked_again += 1
            evidence["asked_again"] = {
                "because": reading.missing.value if reading.missing else "",
                "why": self._secret.redact(reading.why),
                "first_answer": self._kept(answer.text),
            }
            if answer.text.strip():
                more.append({"role": "assistant", "content": answer.text[-_SHOWN_ANSWER:]})
            more.append({"role": "user", "content": rubric.ask_again})
            if self._settings.force_box and self._connection.served.is_vllm:
                boxes = [f"\\boxed{{{score}}}" for score in rubric.scale.scores]
                parameters = {**parameters, "structured_outputs": {"choice": boxes}}
                evidence["asked_again"]["forced"] = True
            final = await self._chat(rubric.text, parameters, more)
            evidence["asked_again"]["tokens"] = _usage(final)
            reading = self._read(final, rubric)
        evidence["finish_reason"] = final.finish_reason
        if reading.missing is not None:
            evidence["answer"] = self._kept(final.text)
            return self._verdict(task, None, reading.missing, self._secret.redact(reading.why), evidence)
        assert reading.score is not None and reading.box_start is not None
        expected = None
        if self._settings.expected_score:
            opening = spoken(final.text)[: reading.box_start] + "\\boxed{"
            expected = await self._expected(rubric, more, opening, evidence)
        reasons = answer.text if final is answer else f"{answer.text}\n\n[asked again] {final.text}"
        return self._verdict(task, float(reading.score), None, self._kept(reasons), evidence, expected)

    def _read(self, answer: Completion, rubric: Rubric) -> Reading:
        return read_answer(
            answer.text,
            rubric.scale,
            finish_reason=answer.finish_reason,
            refusal=answer.refusal,
            quoted=self._case.quoted,
        )

    async def _expected(
        self, rubric: Rubric, more: Sequence[Mapping[str, Any]], opening: str, evidence: dict[str, Any]
    ) -> float | None:
        if not self._connection.served.is_vllm:
            self._totals.remarks.add("No expected scores: only vLLM continues an answer and restricts it to the scale.")
            return None

        async def ask(text: str, allowed: Sequence[str]) -> Sequence[tuple[str, float]]:
            parameters = {
                **self._parameters(None),
                "max_tokens": 1,
                "temperature": 1.0,
                "top_p": 1.0,
                "logprobs": True,
                "top_logprobs": 20,
                "structured_outputs": {"choice": list(allowed)},
                "add_generation_prompt": False,
                "continue_final_message": True,
            }
            answer = await self._chat(rubric.text, parameters, [*more, {"role": "assistant", "content": text}])
            return answer.logprobs[0] if answer.logprobs else ()

        try:
            probabilities = await score_probabilities(ask, opening, rubric.scale.scores)
        except (Failure, ValueError) as error:
            evidence["no_expected_score"] = self._secret.redact(str(error))
            return None
        evidence["score_probabilities"] = {str(score): round(p, 6) for score, p in probabilities.items()}
        return mean_score(probabilities)

    def _parameters(self, seed: int | None) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self._connection.served.model,
            "temperature": self._settings.temperature,
            "top_p": self._settings.top_p,
            "max_tokens": self._settings.max_tokens,
        }
        if seed is not None:
            parameters["seed"] = seed
        return parameters

    def _sent(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters under the names that the server knows."""
        return adjusted(parameters, self._settings.omit, self._settings.rename)

    async def _chat(
        self,
        rubric: str,
        parameters: Mapping[str, Any],
        more: Sequence[Mapping[str, Any]] = (),
        *,
        begun: Callable[[], None] | None = None,
    ) -> Completion:
        """One answer, whatever it takes to get the videos there."""
        if self._overflow is not None:
            raise self._overflow
        settings = dict(parameters)
        if self._connection.served.is_vllm and self._views is None:
            settings["return_token_ids"] = True
        if begun is not None:
            settings |= {"stream": True, "stream_options": {"include_usage": True}}

        async def send(delivery: Delivery) -> Completion:
            if delivery == "data":
                await asyncio.to_thread(self._encoded.prepare, delivery)
            else:
                self._encoded.prepare(delivery)

            def answering(prompt_ids: list[int] | None) -> None:
                self._arrived(delivery)
                self._look(prompt_ids)
                if begun is not None:
                    begun()

            answer = await self._connection.server.chat(
                self._encoded.body(delivery, rubric, self._sent(settings), more),
                first=begun is not None,
                begun=answering,
                fail_on_500=delivery == "file"
                and self._connection.media == "auto"
                and self._connection.reads_files is None,
            )
            return answer

        try:
            answer = await self._delivered(send)
        except Failure as failure:
            if failure.missing is Missing.REQUEST_REJECTED:
                await self._connection.rejections.rejected(failure, self._sent(settings))
            if failure.missing is not Missing.CONTEXT_OVERFLOW:
                raise
            too_long = await self._too_long(rubric, failure)
            if not more:
                # The other dimensions need not be asked; after a re-ask, which is longer, they may well fit.
                self._overflow = too_long
            raise too_long from None
        self._connection.rejections.answered()
        self._totals.count(answer)
        return answer

    async def _delivered(self, send: Callable[[Delivery], Awaitable[Completion]]) -> Completion:
        """Send by reference what the server has, else as a file it may read, else as data."""
        while self._deliveries and self._connection.served.is_vllm:
            seen = self._deliveries
            try:
                return await send("reference")
            except Failure as failure:
                if not failure.forgotten:
                    raise
            async with self._resending:
                if self._deliveries == seen:
                    self._totals.videos_resent += len(self._case.videos)
                    return await self._in_full(send)
        return await self._in_full(send)

    async def _in_full(self, send: Callable[[Delivery], Awaitable[Completion]]) -> Completion:
        if self._connection.media == "data" or self._connection.reads_files is False:
            return await send("data")
        try:
            return await send("file")
        except Failure as failure:
            refused = failure.missing in (Missing.REQUEST_REJECTED, Missing.SERVER_ERROR)
            if self._connection.media == "file" or not refused or failure.status not in (400, 500):
                raise
        answer = await send("data")
        if self._connection.reads_files is None:
            self._connection.reads_files = False
        return answer

    def _arrived(self, delivery: Delivery) -> None:
        """The server has begun to answer, so it has the videos."""
        if delivery != "reference":
            self._deliveries += 1
        if delivery == "file":
            self._connection.reads_files = True

    def _look(self, prompt_ids: list[int] | None) -> None:
        """Note, and check, what the model sees of the videos."""
        if self._views is not None or prompt_ids is None or self._connection.vocabulary is None:
            return
        seen = views(prompt_ids, self._connection.vocabulary)
        if len(seen) != len(self._case.videos):
            raise JudgeError(
                f"The judge's server {self._connection.server.url} shows the model {len(seen)} videos of "
                f"{self._case.name} instead of {len(self._case.videos)}."
            )
        for view, video in zip(seen, self._case.videos, strict=True):
            facts = video.facts
            expected = expected_view(self._settings.view, facts.frames, facts.fps, facts.width, facts.height)
            # Two decoders may disagree by a frame about a clip's length; a wrong setting changes far more.
            if abs(view.frames - expected.frames) <= 2 and view.tokens_per_frame == expected.tokens_per_frame:
                continue
            clip = f"of turn {video.turn} of {self._case.name}"
            check(self._connection.server.url, view, expected, self._settings.view, clip)
        self._views = seen

    def _video_records(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for index, video in enumerate(self._case.videos):
            record: dict[str, Any] = {"turn": video.turn, "sha256": video.facts.sha256}
            if video.detail is not None:
                record["details"] = {"parts_s": [list(part) for part in video.detail.parts], "fps": video.detail.fps}
            if video.copy_of is not None:
                record |= {"copy_of": video.copy_of, "copied_because": video.copied_because}
            if self._views is not None:
                record |= self._views[index].record()
            else:
                record["unchecked"] = True
            records.append(record)
        return records

    async def _too_long(self, rubric: str, failure: Failure) -> Failure:
        count, context = None, self._connection.served.context
        if self._connection.served.is_vllm:
            delivery: Delivery = "file" if self._connection.reads_files else "data"
            await asyncio.to_thread(self._encoded.prepare, delivery)
            body = self._encoded.body(delivery, rubric, {"model": self._connection.served.model})
            try:
                counted = (await self._connection.server.post("/tokenize", body) or {}).get("count")
                count = whole(counted)
            except JudgeError as error:
                self._totals.remarks.add(str(error))
        length = f"{count:,} tokens" if count is not None else "more tokens than the server takes"
        limit = f"the judge's context of {context:,} tokens" if context is not None else "the judge's context"
        return Failure(
            Missing.CONTEXT_OVERFLOW,
            f"The conversation {self._case.name} has {length}, which with up to {self._settings.max_tokens:,} tokens "
            f"of answer does not fit {limit}. Serve it with a larger --max-model-len. The server said: {failure}",
        )

    def _kept(self, text: str) -> str:
        text = self._secret.redact(text)
        return text if len(text) <= _KEPT_ANSWER else f"{text[:_KEPT_ANSWER]} [{len(text) - _KEPT_ANSWER:,} more]"

    def _verdict(
        self,
        task: JudgeTask,
        score: float | None,
        missing: Missing | None,
        reasons: str,
        evidence: Mapping[str, Any],
        expected: float | None = None,
    ) -> Verdict:
        return Verdict(
            system=self._system,
            scenario=self._scenario,
            dimension=task.dimension,
            sample=task.sample,
            score=score,
            missing=missing,
            reasons=reasons,
            evidence=self._secret.cleaned(evidence),
            expected_score=expected,
        )


def _usage(answer: Completion) -> dict[str, int | None]:
    return {"prompt": answer.prompt_tokens, "cached": answer.cached_tokens, "completion": answer.completion_tokens}
