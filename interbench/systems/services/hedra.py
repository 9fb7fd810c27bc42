"""Hedra: a portrait that speaks a given sound file. Format: Hedra's API starter (upload, generate, ask for status)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from math import gcd
from typing import Any, ClassVar

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import mapped, number
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed
from interbench.systems.services.http_jobs import field
from interbench.systems.services.job import Finished, Order, Working, quoted_id, shown, state_note, state_of
from interbench.systems.services.rest_job import Protocol, RestJobSystem
from interbench.systems.services.service_errors import Complaint, Ended, complaint, is_moderation
from interbench.systems.services.spoken_words import spoken_wav


class Hedra(RestJobSystem):
    """Hedra: the portrait speaks scripted replies, synthesized here with the persona's voice.

    Args:
        model: id of the model (``GET /models`` of your account lists them); needed.
        speech_command: another synthesizer (see :class:`interbench.media.speech.SynthesizerCommand`).
        options: those of :class:`~interbench.systems.services.rest_job.RestJobSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        reports_text=True,
        resumes_jobs=True,
        sizes=((720, 1280), (1280, 720), (720, 720)),
        face_policy="any",
        seedable=True,
        poll_period_s=2.0,
        price_usd_per_s=0.07,
        announces_cost=True,
        status="offline generation served; its real-time service was discontinued. Price: 7 credits a second at the "
        "Basic plan's 15 USD for 1,500 credits, from a third party",
        evidence_url="https://github.com/hedra-labs/hedra-api-starter",
        evidence_date=dt.date(2026, 11, 21),
    )
    key_variable = "HEDRA_API_KEY"
    key_header = ("x-api-key", "")
    prompt_file = "hedra.j2"
    protocols: ClassVar[tuple[Protocol, ...]] = ("scripted",)

    def __init__(
        self,
        *,
        base_url: str = "https://api.hedra.com/web-app/public",
        model: str = "",
        speech_command: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base_url=base_url, model=model, **options)
        width, height = self.size
        self._aspect = {(16, 9): "16:9", (9, 16): "9:16", (1, 1): "1:1"}.get(_ratio(width, height), "")
        if not self._aspect or min(self.size) not in (540, 720):
            raise SystemLoadError(f"Hedra makes 16:9, 9:16 or 1:1 at 540 or 720 lines, not {self.size}; set size.")
        self._speech_command = speech_command

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "speech_command": self._speech_command}

    async def start(self) -> None:
        if not self.model:
            raise SystemLoadError(
                "Hedra needs the id of a model: set `model` in the system's options. `curl -H \"x-api-key: "
                '$HEDRA_API_KEY" https://api.hedra.com/web-app/public/models` lists those of your account.'
            )
        await super().start()

    async def upload(self, order: Order) -> Mapping[str, str]:
        if order.image is None:
            raise Ended(Failed("no_portrait", "Hedra needs a portrait; this persona has none", charged=False))
        sound = await spoken_wav(order.words, order.persona.voice, self._speech_command)
        return {
            "image": await self._asset("portrait.png", "image", order.image, "image/png"),
            "audio": await self._asset("reply.wav", "audio", sound, "audio/wav"),
        }

    async def _asset(self, name: str, kind: str, data: bytes, media_type: str) -> str:
        created = await self.service.submit("/assets", json_body={"name": name, "type": kind})
        asset = quoted_id(field(created, "id"))
        await self.service.submit(f"/assets/{asset}/upload", form=[("file", (name, data, media_type))])
        return asset

    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        body = {
            "type": "video",
            "ai_model_id": self.model,
            "start_keyframe_id": assets["image"],
            "audio_id": assets["audio"],
            "generated_video_inputs": {
                "text_prompt": order.prompt,
                "resolution": f"{min(order.size)}p",
                "aspect_ratio": self._aspect,
                "seed": order.turn.seed,
            },
        }
        return field(await self.service.submit("/generations", json_body=body), "id")

    async def poll(self, job_id: str) -> Working | Finished:
        answer = await self.service.read(f"/generations/{quoted_id(job_id)}/status")
        body = mapped(answer.body)
        status, error = body.get("status"), body.get("error_message") or body.get("error")
        state = state_of(status)
        if state == "done":
            url = body.get("download_url") or body.get("url")
            odd = [f"the job is {shown(status)}, and has an error: {shown(error)}"] if error else []
            return Finished(url=url if isinstance(url, str) else "", notices=odd)
        if state != "failed" and not (status is None and error):
            return Working(number(body.get("progress"), 0, 1), state_note(status))
        words = complaint({"error": error}).message if error else "the generation failed"
        said = Complaint("error", self.service.redact(words))
        if is_moderation(said):
            raise Ended(Blocked("moderation", said.message))
        raise Ended(Failed("generation_error", said.message))


def _ratio(width: int, height: int) -> tuple[int, int]:
    shared = gcd(width, height)
    return width // shared, height // shared
