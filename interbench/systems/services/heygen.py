"""HeyGen, API v3: a photograph that speaks given words."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import mapped
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed
from interbench.systems.services.http_jobs import JobAnswer, field
from interbench.systems.services.job import Finished, Order, Working, quoted_id, shown, state_note, state_of
from interbench.systems.services.rest_job import Protocol, RestJobSystem
from interbench.systems.services.service_errors import Complaint, Ended, complaint, is_moderation
from interbench.systems.services.spoken_words import spoken_wav


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
        answer = await self.service.read(f"/v3/videos/{quoted_id(job_id)}")
        video = _data(answer).body
        status, error = video.get("status"), video.get("error") or mapped(answer.body).get("error")
        server = {name: video[name] for name in ("created_at", "completed_at") if video.get(name)}
        state = state_of(status)
        if state == "done":
            url = video.get("video_url")
            failure = video.get("failure_message") or error
            return Finished(
                url=url if isinstance(url, str) else "",
                detail={"server": server},
                seconds=video.get("duration"),
                notices=[f"the job is {shown(status)}, and has an error: {shown(failure)}"] if failure else [],
            )
        if state != "failed" and not (status is None and error):
            return Working(note=state_note(status))
        told = complaint({"error": error}) if error else Complaint("", "")
        said = Complaint(
            self.service.redact(str(video.get("failure_code") or told.code or status)),
            self.service.redact(str(video.get("failure_message") or told.message or f"the job is {status}")),
        )
        if is_moderation(said):
            raise Ended(Blocked(said.code, said.message, {"server": server}))
        raise Ended(Failed(said.code, said.message, "internal" in said.code.lower(), {"server": server}))


def _data(answer: JobAnswer) -> JobAnswer:
    """The answer with what it holds under ``data`` as its body, or as it is where it holds nothing there."""
    body = mapped(answer.body)
    return JobAnswer(answer.status, answer.headers, mapped(body.get("data")) or body)
