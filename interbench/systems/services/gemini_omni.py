"""Gemini Omni, Google's present video model, by the Interactions API of the Gemini API or of Vertex AI."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import listed, mapped, whole
from interbench.base.remote import excerpt
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed, JsonValue
from interbench.systems.services.google_video import GEMINI, Google, default_variable, known_api, plain_name, vertex_url
from interbench.systems.services.http_jobs import Auth, field
from interbench.systems.services.job import Finished, Order, Working, quoted_id, shown, state_note, state_of
from interbench.systems.services.rest_job import RestJobSystem, State
from interbench.systems.services.service_errors import Complaint, Ended, complaint, is_moderation

_USD_PER_TOKEN = 17.50 / 1e6
_TOKENS_PER_S = {360: 1931, 720: 5792, 1080: 8688, 2160: 17376}
_RESOLUTIONS = {360: "360p", 720: "720p", 1080: "1080p", 2160: "4k"}
_MOST_TOKENS = 10**9
"""Of one clip; what is more is no count."""
_UNTESTED_PRICE = "gemini-omni-1.2"
"""Its price is known from resellers alone."""


class GeminiOmni(RestJobSystem):
    """Gemini Omni Flash by the Interactions API; remembers the conversation by the interaction before.

    Args:
        api: ``gemini`` (API key) or ``vertex`` (OAuth token).
        model: ``gemini-omni-1.1-flash`` or ``gemini-omni-1.2-flash``.
        project: Google Cloud project, for ``vertex``.
        location: Google Cloud region.
        base_url: another address, e.g. of a gateway.
        options: those of :class:`~interbench.systems.services.rest_job.RestJobSystem`. ``state`` is ``session``
            unless said otherwise: the portrait is sent in every turn, and the interaction before is named.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        state="session",
        resumes_jobs=True,
        durations_s=tuple(float(seconds) for seconds in range(3, 11)),
        sizes=((720, 1280), (1280, 720), (1080, 1920), (1920, 1080)),
        face_policy="adults",
        max_prompt_tokens=4096,
        seedable=True,
        poll_period_s=2.0,
        price_usd_per_s=round(_USD_PER_TOKEN * _TOKENS_PER_S[720], 4),
        announces_cost=True,
        cancels_jobs=True,
        status="served: gemini-omni-1.1-flash since 2026-08-27, gemini-omni-1.2-flash since 2026-11-05",
        evidence_url="https://ai.google.dev/gemini-api/docs/changelog",
        evidence_date=dt.date(2026, 11, 21),
    )
    prompt_file = "gemini_omni.j2"
    states: ClassVar[tuple[State, ...]] = ("session", "reference", "last_frame")

    def __init__(
        self,
        *,
        api: str = "gemini",
        model: str = "gemini-omni-1.1-flash",
        project: str | None = None,
        location: str = "global",
        base_url: str | None = None,
        key_env: str | None = None,
        **options: Any,
    ) -> None:
        self.api = known_api(api)
        self._own = base_url is None
        key_env = key_env or default_variable(self.api)
        self._google = Google(self.api, project, location, key_env)
        if base_url is None:
            base_url = vertex_url(location) if self.api == "vertex" else GEMINI
        super().__init__(base_url=base_url, model=plain_name("model", model), key_env=key_env, **options)
        if min(self.size) not in _RESOLUTIONS or max(self.size) * 9 != min(self.size) * 16:
            raise SystemLoadError(
                f"Omni makes 16:9 or 9:16 at 360, 720, 1080 or 2160 lines, not {self.size}; set size."
            )

    def price(self) -> float | None:
        tokens = _TOKENS_PER_S.get(min(self.size))
        if not self._own or tokens is None or self.model.startswith(_UNTESTED_PRICE):
            return None
        return round(_USD_PER_TOKEN * tokens, 4)

    def auth(self) -> Auth:
        return self._google.auth()

    def settings(self) -> Mapping[str, JsonValue]:
        return {**super().settings(), "api": self.api}

    @property
    def _path(self) -> str:
        if self.api == "gemini":
            return "/v1beta/interactions"
        return f"/v1beta1/{self._google.place}/interactions"

    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        content: list[dict[str, str]] = []
        if order.image is not None:
            data = base64.b64encode(order.image).decode()
            content.append({"type": "image", "data": data, "mime_type": "image/png"})
        content.append({"type": "text", "text": order.prompt})
        width, height = order.size
        task = "text_to_video" if order.image is None else "image_to_video"
        body: dict[str, Any] = {
            "model": self.model,
            "background": True,
            "store": True,
            "input": [{"type": "user_input", "content": content}],
            "response_format": {
                "type": "video",
                "delivery": "uri",
                "aspect_ratio": "16:9" if width > height else "9:16",
                "resolution": _RESOLUTIONS[min(order.size)],
                "duration": f"{order.seconds:g}s",
            },
            "generation_config": {"seed": order.turn.seed, "video_config": {"task": task}},
        }
        if self.state == "session" and order.previous is not None:
            body["previous_interaction_id"] = order.previous
        return field(await self.service.submit(self._path, json_body=body), "id")

    async def poll(self, job_id: str) -> Working | Finished:
        answer = await self.service.read(
            f"{self._path}/{quoted_id(job_id)}", max_bytes=self.max_inline_bytes * 4 // 3 + 2**16
        )
        interaction = mapped(answer.body)
        status, error = interaction.get("status"), interaction.get("errors") or interaction.get("error")
        state = state_of(status)
        if state in ("working", "unknown") and not (status is None and error):
            return Working(note=state_note(status))
        detail: dict[str, JsonValue] = {
            "server": {name: interaction[name] for name in ("created", "updated") if interaction.get(name)}
        }
        if (seconds := _between(interaction.get("created"), interaction.get("updated"))) is not None:
            detail["server_s"] = seconds
        tokens = _video_tokens(interaction)
        if tokens is not None:
            detail["video_tokens"] = tokens
        if state != "done":
            raise Ended(self._failed(str(status), error, detail, tokens))
        odd = [f"the interaction is {shown(status)}, and has an error: {shown(error)}"] if error else []
        texts, video = _output(interaction)
        if video is None and not any(text.strip() for text in texts):
            message = "the answer holds neither a video nor words"
            raise Ended(Failed("no_video", message, True, detail, charged=True if tokens else None))
        if video is None:
            # This is how the model refuses: it answers in words.
            message = self.service.redact(excerpt(texts, limit=4000))
            raise Ended(Blocked("text_only", message, detail, charged=bool(tokens)))
        if texts:
            detail["text"] = self.service.redact(excerpt(texts, limit=4000))
        usd = None if tokens is None or not self._own else tokens * _USD_PER_TOKEN
        if self.capabilities.price_usd_per_s is None:
            usd = None
        data, uri = video.get("data"), video.get("uri")
        if isinstance(data, str) and data:
            return Finished(inline=data, detail=detail, usd=usd, notices=odd)
        return Finished(url=uri if isinstance(uri, str) else "", detail=detail, usd=usd, notices=odd)

    def _failed(
        self, status: str, errors: object, detail: Mapping[str, JsonValue], tokens: int | None
    ) -> Blocked | Failed:
        first = errors[0] if isinstance(errors, list) and errors else errors
        said = complaint({"error": first}) if first else Complaint(status, f"the interaction ended as {status}")
        said = Complaint(self.service.redact(said.code or status), self.service.redact(said.message))
        charged = None if tokens is None else bool(tokens)
        if is_moderation(said):
            return Blocked(said.code, said.message, detail, charged=charged)
        transient = status in ("failed", "incomplete")
        return Failed(status, said.message, transient, detail, charged=charged)

    async def cancel(self, job_id: str) -> bool:
        try:
            await self.service.submit(f"{self._path}/{quoted_id(job_id)}/cancel", json_body={})
        except Ended:
            return False
        return True


def _output(interaction: Mapping[str, Any]) -> tuple[list[str], Mapping[str, Any] | None]:
    """The words and the video that the model has put out."""
    texts, video = [], None
    for step in map(mapped, listed(interaction.get("steps"))):
        if step.get("type") != "model_output":
            continue
        for content in map(mapped, listed(step.get("content"))):
            if content.get("type") == "video" and (content.get("uri") or content.get("data")):
                video = content
            elif content.get("type") == "text":
                texts.append(str(content.get("text", "")))
    return texts, video


def _video_tokens(interaction: Mapping[str, Any]) -> int | None:
    """Tokens of video that are charged for; None if the service does not say."""
    counts = mapped(interaction.get("usage")).get("output_tokens_by_modality")
    if not isinstance(counts, list):
        return None
    of_video = [count for count in map(mapped, counts) if str(count.get("modality")).lower() == "video"]
    told = [whole(count.get("tokens", 0), 0, _MOST_TOKENS) for count in of_video]
    return None if None in told else sum(tokens for tokens in told if tokens is not None)


def _between(begun: Any, ended: Any) -> float | None:
    try:
        return (dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(begun)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
