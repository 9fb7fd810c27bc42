"""Services that make one clip per request: upload, create, poll, fetch.

A service is described by four hooks of :class:`RestJobSystem`; everything else is the same for all of them and is done
here: prompts and word budgets, reference images, money, job ids that are stored before the first poll, polling, taking
up interrupted jobs, downloads, and telling outcomes apart. The shipped services are built on nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import number
from interbench.domain.persona import Persona
from interbench.domain.records import BELIEVED
from interbench.media import continuity
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.events import Failed, JsonValue, TurnRequest
from interbench.systems.prompting import (
    PromptTooLongError,
    Said,
    choose_duration,
    cut_words,
    fit,
    speaking_s,
    template,
    word_budget,
)
from interbench.systems.reference_image import fitted_png
from interbench.systems.services.download import MAX_CLIP_BYTES, MAX_INLINE_BYTES, download, take_inline
from interbench.systems.services.http_jobs import Auth, JobService, KeyAuth, Patience, service_url
from interbench.systems.services.job import Finished, Order, Working, shown
from interbench.systems.services.job_conversation import JobConversation
from interbench.systems.services.service_errors import Ended

Protocol = Literal["self-answer", "scripted"]
State = Literal["reference", "last_frame", "extension", "session"]
_STATES: Mapping[str, Literal["history", "last_frame", "session"]] = {
    "reference": "history",
    "last_frame": "last_frame",
    "extension": "session",
    "session": "session",
}
_TYPICAL_S = 8.0
_ENDLESS = 100_000
WORST = 4.0
"""Where a service takes no length, so many times the time that the words take are set aside for a clip."""


class RestJobSystem(AvatarSystem):
    """Base class of services that make one clip per request.

    Derive from it, set the class variables, and implement :meth:`create`, :meth:`poll` and, where needed,
    :meth:`upload` and :meth:`fetch`. Each hook may raise
    :class:`~interbench.systems.services.service_errors.Ended` with the turn's outcome; ``self.service`` sends
    requests and raises it for whatever a service may answer.

    Args:
        base_url: address of the service.
        model: the model to ask for.
        key_env: name of the environment variable that holds the key; empty for none.
        protocol: ``self-answer`` (the model makes up its words) or ``scripted`` (the run's script writer does).
        state: what ties a clip to the one before: ``reference`` (the same portrait again), ``last_frame``,
            ``extension`` (the clip before is extended), ``session`` (the provider remembers).
        reference: whether the portrait is sent: ``image``, ``words`` (the persona's appearance in the prompt alone),
            or ``auto`` (an image where the service is known to accept faces).
        seconds: clip length with ``self-answer``, from which the word budget follows; for services that take no length,
            what ``--dry-run`` reckons with.
        size: ``WIDTHxHEIGHT`` in pixels.
        poll_s: how often the job's state is asked for: the resolution of the measured times.
        price_usd_per_s: what a second costs, where the built-in table does not know or no longer holds.
        max_bytes: largest clip accepted.
        submit_wait_s: how long to go on submitting while the service answers 408 or 429.
        ask_anyway: send requests even though the service is known to be retired.

    Raises:
        SystemLoadError: an option is wrong.
    """

    key_variable: ClassVar[str] = ""
    """Default of ``key_env``."""
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer ")
    """Header that carries the key, and what stands before the key in it."""
    prompt_file: ClassVar[str] = ""
    """Template below ``prompts/systems``; empty for services that read no prompt."""
    states: ClassVar[tuple[State, ...]] = ("reference",)
    protocols: ClassVar[tuple[Protocol, ...]] = ("self-answer", "scripted")
    extension_s: ClassVar[float | None] = None
    """What an extension adds, where that is not a matter of choice."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str = "",
        key_env: str | None = None,
        protocol: Protocol | None = None,
        state: State | None = None,
        reference: Literal["auto", "image", "words"] = "auto",
        seconds: float | None = None,
        size: str = "720x1280",
        poll_s: float | None = None,
        price_usd_per_s: float | None = None,
        max_bytes: int = MAX_CLIP_BYTES,
        submit_wait_s: float = 120.0,
        ask_anyway: bool = False,
    ) -> None:
        self.base_url = service_url(base_url)
        self.model = model
        self.key_env = self.key_variable if key_env is None else key_env
        self.protocol: Protocol = _one_of("protocol", protocol or self.protocols[0], self.protocols)
        self.state: State = _one_of("state", state or self.states[0], self.states)
        self.reference = _one_of("reference", reference, ("auto", "image", "words"))
        self.size = _size(size)
        self.poll_s = poll_s or self.capabilities.poll_period_s or 1.0
        self.max_bytes = max_bytes
        self.max_inline_bytes = min(max_bytes, MAX_INLINE_BYTES)
        self.submit_wait_s = submit_wait_s
        self.capabilities = dataclasses.replace(
            self.capabilities,
            state="none" if self.protocols == ("scripted",) else _STATES[self.state],
            sizes=(self.size,),
            reports_text=self.protocol == "scripted",
            poll_period_s=self.poll_s,
            price_usd_per_s=self.price() if price_usd_per_s is None else price_usd_per_s,
            retired_on=self.retired_on(),
        )
        self.seconds = self._seconds(seconds)
        self.ask_anyway = ask_anyway
        self._service: JobService | None = None

    # -- what a service says about itself -------------------------------------------------------------------------

    def price(self) -> float | None:
        """US dollars per second with these options; None if it is not known."""
        return self.capabilities.price_usd_per_s

    def retired_on(self) -> dt.date | None:
        """Since when the service at this address is gone; None if it is not known to be."""
        return self.capabilities.retired_on

    def sends_faces(self) -> bool:
        """Whether this service is known to accept a human face in a reference image."""
        return self.capabilities.face_policy in ("any", "adults")

    def auth(self) -> Auth:
        """Who we are to the service; called when the system starts.

        Raises:
            SystemLoadError: a key is missing.
        """
        return KeyAuth(self.key_env, *self.key_header)

    # -- the four hooks -------------------------------------------------------------------------------------------

    async def upload(self, order: Order) -> Mapping[str, str]:
        """Send what has to be there before the job is created; gives names of it for :meth:`create`. Free of charge."""
        return {}

    @abstractmethod
    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        """Create the job and give its id. This is what costs money: send it with ``self.service.submit``."""

    @abstractmethod
    async def poll(self, job_id: str) -> Working | Finished:
        """Ask for the job's state once, with ``self.service.read``."""

    async def fetch(self, finished: Finished, output: Path) -> float | None:
        """Write the clip to ``output``; gives its playback duration in seconds if the file states it."""
        if finished.inline is not None:
            return await take_inline(finished.inline, output, self.max_inline_bytes)
        url = finished.url
        if not url:
            message = "the job is finished, but the service names no clip"
            raise Ended(Failed("no_video", message, transient=True, job_open=True))
        return await download(self.service, url if "://" in url else self.service.url + url, output, self.max_bytes)

    # -- the same for every service -------------------------------------------------------------------------------

    @property
    def service(self) -> JobService:
        if self._service is None:
            raise RuntimeError("the system was not started")
        return self._service

    @property
    def version(self) -> str:
        return self.model or "as served"

    def settings(self) -> Mapping[str, JsonValue]:
        return {
            "base_url": self.base_url,
            "model": self.model,
            "protocol": self.protocol,
            "state": self.state,
            "reference": self.reference,
            "seconds": self.seconds,
            "size": "x".join(map(str, self.size)),
            "poll_s": self.poll_s,
        }

    @property
    def takes_script(self) -> bool:
        return self.protocol == "scripted"

    @property
    def reads_transcripts(self) -> bool:
        return self.protocol == "self-answer" and bool(self.prompt_file)

    @property
    def turn_video_s(self) -> float | None:
        if self.protocol == "scripted" and self.capabilities.durations_s:
            return super().turn_video_s
        return self.seconds

    @property
    def gone(self) -> dt.date | None:
        """Since when the service is retired, if it is and the options do not say to ask anyway."""
        day = self.capabilities.retired_on
        return day if day is not None and day <= dt.date.today() and not self.ask_anyway else None

    async def start(self) -> None:
        if self.gone is None:
            patience = Patience(first_wait_s=min(1.0, self.poll_s), submit_wait_s=self.submit_wait_s)
            self._service = JobService(self.base_url, self.auth(), patience)

    async def stop(self) -> None:
        if self._service is not None:
            await self._service.close()

    async def open(self, persona: Persona) -> Conversation:
        return JobConversation(self, persona)

    def _seconds(self, wanted: float | None) -> float:
        """The clip length with ``self-answer``, and what costs are estimated with where lengths can't be chosen."""
        durations = self.capabilities.durations_s
        if not durations:
            return wanted or _TYPICAL_S
        if wanted is None:
            return _TYPICAL_S if _TYPICAL_S in durations else max(durations)
        if wanted not in durations:
            allowed = ", ".join(f"{seconds:g}" for seconds in durations)
            raise SystemLoadError(f"seconds = {wanted:g} is not a length that can be asked for; allowed: {allowed}.")
        return float(wanted)

    # -- orders ---------------------------------------------------------------------------------------------------

    async def order(self, persona: Persona, turn: TurnRequest, previous: str | None) -> tuple[Order, dict[str, Any]]:
        """What to ask for in a turn, and what is kept of it with the clip.

        Raises:
            Ended: the prompt does not fit the model.
        """
        words, cut = self.spoken(turn)
        seconds = self.clip_seconds(turn, words)
        image, about_image = await self._image(turn)
        prompt, about_prompt = self._prompt(persona, turn, words, seconds, image is not None, previous)
        extends = self._extended(turn)
        order = Order(
            turn=turn,
            persona=persona,
            prompt=prompt,
            words=words,
            seconds=seconds,
            size=self.size,
            image=image if extends is None else None,
            previous=previous,
            previous_clip=extends,
        )
        detail = {
            "protocol": self.protocol,
            "state": self.state,
            "model": self.model,
            "seconds": seconds,
            "words_cut": cut,
            "reference": about_image if extends is None else {"sent": "none", "why": "the clip before is extended"},
            **about_prompt,
        }
        return order, detail

    def spoken(self, turn: TurnRequest) -> tuple[str, int]:
        """What is said, and how many of its words the longest clip has no room for."""
        if self.protocol == "self-answer":
            return "", 0
        if not turn.script:
            raise Ended(Failed("no_script", "the harness handed over no words to speak", charged=False))
        durations = self.capabilities.durations_s
        return cut_words(turn.script, word_budget(max(durations)) if durations else _ENDLESS)

    def clip_seconds(self, turn: TurnRequest, words: str) -> float:
        """Length to ask for; for services that take none the worst case that is set aside."""
        if self.extension_s is not None and self._extended(turn) is not None:
            return self.extension_s
        if self.protocol == "self-answer":
            return self.seconds
        count, durations = len(words.split()), self.capabilities.durations_s
        return choose_duration(count, durations) if durations else WORST * speaking_s(count)

    def charged_seconds(self, seconds: float, told: JsonValue, delivered_s: float | None) -> tuple[float, list[str]]:
        """Seconds that a clip was charged for, and what was odd about what the service says of that.

        Args:
            seconds: as asked for or set aside.
            told: what the service says.
            delivered_s: what the clip's file says.
        """
        chosen = bool(self.capabilities.durations_s)
        least, most = seconds / (BELIEVED if chosen else WORST * BELIEVED), seconds * BELIEVED
        figure: JsonValue = told
        if told is None:
            if chosen or delivered_s is None:
                return seconds, []
            figure = delivered_s
        found = number(figure, least, most)
        if found is not None:
            return found, []
        whose = "the service" if told is not None else "the clip's file"
        return seconds, [
            f"{whose} says {shown(figure)} s, which can't be for this clip: the {seconds:g} s set aside are charged"
        ]

    def _extended(self, turn: TurnRequest) -> Path | None:
        """The clip that this turn's clip goes on from, if there is one."""
        clips = [past.clip for past in turn.history if past.clip is not None]
        return clips[-1] if clips and self.state == "extension" else None

    async def _image(self, turn: TurnRequest) -> tuple[bytes | None, dict[str, JsonValue]]:
        """The reference image and the record of the choice."""
        if self.reference == "words":
            return None, {"sent": "words", "why": "asked for in the settings"}
        if self.reference == "auto" and not self.sends_faces():
            return None, {"sent": "words", "why": "the service refuses human faces in reference images"}
        source, why = turn.portrait, "portrait"
        clips = [past.clip for past in turn.history if past.clip is not None]
        if self.state == "last_frame" and clips:
            source, why = await continuity.last_frame(clips[-1], turn.workdir / "last_frame.png"), "last frame"
        if source is None:
            return None, {"sent": "words", "why": "the persona has no portrait"}
        image = await asyncio.to_thread(fitted_png, source, self.size)
        digest = hashlib.sha256(image).hexdigest()
        return image, {"sent": why, "size": "x".join(map(str, self.size)), "sha256": digest}

    def _prompt(
        self, persona: Persona, turn: TurnRequest, words: str, seconds: float, image: bool, previous: str | None
    ) -> tuple[str, dict[str, Any]]:
        if not self.prompt_file:
            return "", {}

        def render(history: tuple[Said, ...]) -> str:
            return template(self.prompt_file).render(
                persona=persona,
                history=history,
                user=turn.text,
                mood=turn.mood,
                reply=words,
                words=word_budget(seconds),
                image=image,
                continued=previous is not None,
            )

        try:
            fitted = fit(render, turn.history, self.capabilities.max_prompt_tokens)
        except PromptTooLongError as error:
            raise Ended(Failed("prompt_too_long", str(error), charged=False)) from None
        return fitted.prompt, {
            "prompt": fitted.prompt,
            "history": {
                "verbatim": fitted.verbatim,
                "summed_up": fitted.summed_up,
                "left_out": fitted.left_out,
                "replies_known": sum(past.reply_text is not None for past in turn.history),
            },
        }


def _one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    if value not in allowed:
        raise SystemLoadError(f"{name} = {value!r} is not possible here; choose one of {', '.join(allowed)}.")
    return value


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit() and 64 <= int(width) <= 4096 and 64 <= int(height) <= 4096):
        raise SystemLoadError(f"size = {text!r} is no size; write WIDTHxHEIGHT in pixels, e.g. 720x1280.")
    return int(width), int(height)
