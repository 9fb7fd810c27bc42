"""HeyGen, API v3: a photograph that speaks given words."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from interbench.base.errors import SystemLoadError
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed
from interbench.systems.services.http_jobs import JobAnswer, field
from interbench.systems.services.rest_job import Finished, Order, Protocol, RestJobSystem, Working, quoted_id
from interbench.systems.services.service_errors import Complaint, Ended, is_moderation
from interbench.systems.services.spoken_words import spoken_wav

_WORKING = frozenset({"waiting", "pending", "processing"})


class HeyGen(RestJobSystem):
    """HeyGen v3 (Avatar IV): the portrait, or an avatar of your account, speaks scripted replies.

    Args:
        voice_id: a HeyGen voice that reads the words; empty: they are synthesized here, with the persona's voice, and
            sent as sound, the same for every audio-driven system.
        avatar_id: an avatar of your account instead of the persona's portrait.
        speech_command: another synthesizer (see :class:`interbench.media.speech.SynthesizerCommand`).
        options: those of :class:`~interbench.systems.services.rest_job.RestJobSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        reports_text=True,
        resumes_jobs=True,
        sizes=((720, 1280), (1280, 720), (1080, 1920), (1920, 1080)),
        face_policy="any",
        max_concurrency=10,
        poll_period_s=1.0,
        price_usd_per_s=0.05,
        announces_cost=True,
        status="served; photo avatar at 720p or 1080p",
        evidence_url="https://developers.heygen.com/docs/pricing",
        evidence_date=dt.date(2026, 11, 21),
    )
    key_variable = "HEYGEN_API_KEY"
    key_header = ("X-Api-Key", "")
    prompt_file = "heygen.j2"
    protocols: ClassVar[tuple[Protocol, ...]] = ("scripted",)

    def __init__(
        self,
        *,
        base_url: str = "https://api.heygen.com",
        model: str = "avatar_iv",
        voice_id: str = "",
        avatar_id: str = "",
        speech_command: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base_url=base_url, model=model, **options)
        if min(self.size) not in (720, 1080) or max(self.size) * 9 != min(self.size) * 16:
            raise SystemLoadError(f"HeyGen makes 16:9 or 9:16 at 720 or 1080 lines, not {self.size}; set size.")
        self._voice_id = voice_id
        self._avatar_id = avatar_id
        self._speech_command = speech_command
        self._uploaded: dict[str, str] = {}
        """Asset ids by digest: a portrait is sent once."""

    def settings(self) -> Mapping[str, Any]:
        chosen = {"voice_id": self._voice_id, "avatar_id": self._avatar_id, "speech_command": self._speech_command}
        return {**super().settings(), **chosen}

    async def upload(self, order: Order) -> Mapping[str, str]:
        assets = {}
        if not self._avatar_id:
            if order.image is None:
                message = "HeyGen needs a portrait or an avatar_id; this persona has none"
                raise Ended(Failed("no_portrait", message, charged=False))
            assets["image"] = await self._asset("portrait.png", order.image, "image/png")
        if not self._voice_id:
            sound = await spoken_wav(order.words, order.persona.voice, self._speech_command)
            assets["audio"] = await self._asset("reply.wav", sound, "audio/wav")
        return assets

    async def _asset(self, name: str, data: bytes, kind: str) -> str:
        known = hashlib.sha256(data).hexdigest()
        if known not in self._uploaded:
            answer = await self.service.submit("/v3/assets", form=[("file", (name, data, kind))])
            self._uploaded[known] = field(_data(answer), "asset_id")
        return self._uploaded[known]

    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        width, height = order.size
        body: dict[str, Any] = {
            "title": f"{order.turn.scenario} {order.turn.index}",
            "aspect_ratio": "16:9" if width > height else "9:16",
            "resolution": f"{min(order.size)}p",
            "motion_prompt": order.prompt,
        }
        if self._avatar_id:
            body |= {"type": "avatar", "avatar_id": self._avatar_id, "engine": {"type": self.model}}
        else:
            body |= {"type": "image", "image": {"type": "asset_id", "asset_id": assets["image"]}}
        if self._voice_id:
            body |= {"script": order.words, "voice_id": self._voice_id}
        else:
            body["audio_asset_id"] = assets["audio"]
        return field(_data(await self.service.submit("/v3/videos", json_body=body)), "video_id")

    async def poll(self, job_id: str) -> Working | Finished:
        video = _data(await self.service.read(f"/v3/videos/{quoted_id(job_id)}")).body
        status = str(video.get("status"))
        if status in _WORKING:
            return Working(note=status)
        server = {name: video[name] for name in ("created_at", "completed_at") if video.get(name)}
        if status == "completed":
            duration = video.get("duration")
            charged = float(duration) if isinstance(duration, (int, float)) and duration > 0 else None
            return Finished(url=str(video.get("video_url") or ""), detail={"server": server}, seconds=charged)
        said = Complaint(
            self.service.redact(str(video.get("failure_code") or status)),
            self.service.redact(str(video.get("failure_message") or f"the job is {status}")),
        )
        if is_moderation(said):
            raise Ended(Blocked(said.code, said.message, {"server": server}))
        raise Ended(Failed(said.code, said.message, "internal" in said.code.lower(), {"server": server}))


def _data(answer: JobAnswer) -> JobAnswer:
    """The answer with what it holds under ``data`` as its body."""
    data = answer.body.get("data") if isinstance(answer.body, dict) else None
    return JobAnswer(answer.status, answer.headers, data if isinstance(data, dict) else {})
