"""The OpenAI Videos format: OpenAI and Azure while they lasted, and every server that speaks it today.

Format: OpenAPI of ``/videos`` (openai/openai-openapi, August 2026). Servers: vLLM-Omni, SGLang Diffusion, the LiteLLM
proxy, gateways.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import mapped, number
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed, JsonValue
from interbench.systems.services.http_jobs import Auth, FormPart, KeyAuth, field
from interbench.systems.services.job import Finished, Order, Working, quoted_id, shown, state_note, state_of
from interbench.systems.services.rest_job import RestJobSystem, State
from interbench.systems.services.service_errors import Complaint, Ended, complaint, is_moderation

_SHUT_DOWN = dt.date(2026, 9, 24)
_PRICES = {
    "sora-2": {720: 0.10},
    "sora-2-pro": {720: 0.30, 1024: 0.50, 1080: 0.70},
}
"""US dollars per second by model and shorter side, as OpenAI charged while it served them."""


class Sora(RestJobSystem):
    """OpenAI Videos format (Sora 2): OpenAI, Azure, vLLM-Omni, SGLang, LiteLLM and other gateways.

    Args:
        base_url: with or without ``/v1``. Azure: ``https://NAME.openai.azure.com/openai/v1``, with the deployment's
            name as ``model``.
        durations: clip lengths in seconds that the server makes.
        auth_header: ``Authorization`` (a bearer key) or ``api-key``; by default whichever the address calls for.
        send_seed: send the turn's seed; OpenAI itself refuses the field, vLLM-Omni and SGLang know it.
        extra: more form fields, e.g. ``{num_inference_steps = 4, negative_prompt = "text"}`` for vLLM-Omni.
        options: those of :class:`~interbench.systems.services.rest_job.RestJobSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        state="history",
        resumes_jobs=True,
        durations_s=(4.0, 8.0, 12.0),
        sizes=((720, 1280), (1280, 720), (1024, 1792), (1792, 1024)),
        face_policy="none",
        max_prompt_tokens=9000,
        poll_period_s=1.0,
        price_usd_per_s=0.10,
        announces_cost=True,
        cancels_jobs=True,
        retired_on=_SHUT_DOWN,
        status="shut down at OpenAI; the format lives on in vLLM-Omni, SGLang, LiteLLM and gateways (set base_url)",
        evidence_url="https://platform.openai.com/docs/guides/video-generation",
        evidence_date=dt.date(2026, 11, 21),
    )
    key_variable = "OPENAI_API_KEY"
    prompt_file = "sora.j2"
    states: ClassVar[tuple[State, ...]] = ("reference", "last_frame", "extension")

    def __init__(
        self,
        *,
        base_url: str = "https://api.openai.com/v1",
        model: str = "sora-2",
        durations: Sequence[float] = (4.0, 8.0, 12.0),
        auth_header: str | None = None,
        send_seed: bool = False,
        extra: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._host = urlsplit(base_url).hostname or ""
        self.capabilities = _with_durations(self.capabilities, durations, seedable=send_seed)
        base_url = base_url.strip().rstrip("/")
        super().__init__(base_url=base_url.removesuffix("/v1"), model=model, **options)
        header = auth_header or ("api-key" if self._azure else "Authorization")
        if header not in ("Authorization", "api-key"):
            raise SystemLoadError(f"auth_header = {header!r} is not known; it is Authorization or api-key.")
        self._header = header
        self._send_seed = send_seed
        self._extra = {name: str(value) for name, value in (extra or {}).items()}

    @property
    def _openai(self) -> bool:
        return self._host == "api.openai.com"

    @property
    def _azure(self) -> bool:
        return self._host.endswith((".azure.com", ".microsoft.com"))

    def price(self) -> float | None:
        if not (self._openai or self._azure):
            return None
        return _PRICES.get(self.model, {}).get(min(self.size))

    def retired_on(self) -> dt.date | None:
        return _SHUT_DOWN if self._openai else None

    def sends_faces(self) -> bool:
        return not (self._openai or self._azure)

    def auth(self) -> Auth:
        return KeyAuth(self.key_env, self._header, "" if self._header == "api-key" else "Bearer ")

    def settings(self) -> Mapping[str, JsonValue]:
        return {**super().settings(), "send_seed": self._send_seed, "extra": dict(self._extra)}

    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        seconds = f"{order.seconds:g}"
        if self.state == "extension" and order.previous is not None:
            body = {"prompt": order.prompt, "seconds": seconds, "video": {"id": order.previous}}
            return field(await self.service.submit("/v1/videos/extensions", json_body=body), "id")
        fields = {"prompt": order.prompt, "model": self.model, "seconds": seconds, "size": _spelled(order.size)}
        if self._send_seed:
            fields["seed"] = str(order.turn.seed)
        form: list[tuple[str, FormPart]] = [(name, (None, value)) for name, value in {**fields, **self._extra}.items()]
        if order.image is not None:
            form.append(("input_reference", ("reference.png", order.image, "image/png")))
        return field(await self.service.submit("/v1/videos", form=form), "id")

    async def poll(self, job_id: str) -> Working | Finished:
        answer = await self.service.read(f"/v1/videos/{quoted_id(job_id)}")
        video = mapped(answer.body)
        status = video.get("status")
        server = {name: video.get(name) for name in ("created_at", "completed_at", "expires_at") if video.get(name)}
        error = video.get("error")
        state = state_of(status)
        if state == "done":
            detail: dict[str, JsonValue] = {"server": dict(server)}
            begun, ended = number(video.get("created_at")), number(video.get("completed_at"))
            if begun is not None and ended is not None:
                detail["server_s"] = ended - begun
            return Finished(
                url=f"/v1/videos/{quoted_id(job_id)}/content",
                detail=detail,
                seconds=video.get("seconds"),
                notices=[f"the job is {shown(status)}, and has an error: {shown(error)}"] if error else [],
            )
        if state != "failed" and not (status is None and error):
            progress = number(video.get("progress"), 0, 100)
            hint = number(answer.headers.get("openai-poll-after-ms"))
            return Working(
                None if progress is None else progress / 100, state_note(status), None if hint is None else hint / 1000
            )
        told = complaint({"error": error}) if error else Complaint("", "")
        said = Complaint(
            self.service.redact(told.code or str(status)), self.service.redact(told.message or f"the job is {status}")
        )
        if is_moderation(said):
            raise Ended(Blocked(said.code, said.message, {"server": dict(server)}))
        transient = said.code in ("processing_error", "server_error", "internal_error", "expired", "timeout")
        raise Ended(Failed(said.code, said.message, transient, {"server": dict(server)}))

    async def cancel(self, job_id: str) -> bool:
        try:
            answer = await self.service.submit(f"/v1/videos/{quoted_id(job_id)}", method="DELETE")
        except Ended:
            return False
        return isinstance(answer.body, dict) and answer.body.get("deleted") is True


def _with_durations(capabilities: Capabilities, durations: Sequence[float], *, seedable: bool) -> Capabilities:
    if not durations or any(seconds <= 0 for seconds in durations):
        raise SystemLoadError("durations has to name at least one clip length in seconds, e.g. [4, 8, 12].")
    chosen = tuple(sorted(float(seconds) for seconds in durations))
    return dataclasses.replace(capabilities, durations_s=chosen, seedable=seedable)


def _spelled(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
