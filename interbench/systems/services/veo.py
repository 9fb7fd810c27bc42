"""Google Veo by Vertex AI, and in the form of the Gemini API for gateways that kept it.

Formats: discovery documents ``aiplatform`` v1 and ``generativelanguage`` v1beta, and what Google's SDKs send.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import listed, mapped, whole
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Blocked, Failed, JsonValue
from interbench.systems.services.google_video import GEMINI, Google, default_variable, known_api, plain_name, vertex_url
from interbench.systems.services.http_jobs import Auth, field
from interbench.systems.services.job import Finished, Order, Working, shown
from interbench.systems.services.rest_job import RestJobSystem, State
from interbench.systems.services.service_errors import Ended, complaint

_GEMINI_SHUT_DOWN = dt.date(2026, 10, 22)
_MAX_EXTENDED_BYTES = 20 * 2**20
_PRICES = {
    "veo-3.1-generate": {720: 0.40, 1080: 0.40, 2160: 0.60},
    "veo-3.1-fast-generate": {720: 0.10, 1080: 0.12, 2160: 0.30},
    "veo-3.1-lite-generate": {720: 0.05, 1080: 0.08},
}
"""US dollars per second with sound, by the beginning of the model's name and the shorter side."""
_RESOLUTIONS = {720: "720p", 1080: "1080p", 2160: "4k"}
_SUPPORT = {
    "child": "58061214 17301594",
    "celebrity": "29310472 15236754",
    "video safety": "64151117 42237218",
    "dangerous": "62263041",
    "hate": "57734940 22137204",
    "other": "74803281 29578790 42876398",
    "prohibited": "89371032 49114662 63429089 72817394 60599140",
    "third party": "35561574 35561575",
    "sexual": "90789179 43188360",
    "toxic": "78610348",
    "violence": "61493863 56562880",
    "vulgar": "32635315",
}
_REASON = {code: reason for reason, codes in _SUPPORT.items() for code in codes.split()}
_OPERATION = re.compile(r"^(?:[A-Za-z0-9_.:~-]+/){1,12}[A-Za-z0-9_.:~-]+$")
_TRANSIENT = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes of what may succeed later: deadline, resources, aborted, internal, unavailable."""
_CONTENT = 3
"""google.rpc INVALID_ARGUMENT: of an operation that was accepted, the service's way to refuse its content."""


class Veo(RestJobSystem):
    """Google Veo 3.1 by Vertex AI; also the Gemini API form, for gateways.

    Args:
        api: ``vertex`` (OAuth token) or ``gemini`` (API key).
        model: e.g. ``veo-3.1-generate-001``, ``veo-3.1-fast-generate-001``.
        project: Google Cloud project; by default GOOGLE_CLOUD_PROJECT, or the one of the credentials.
        location: Google Cloud region.
        base_url: another address, e.g. of a gateway.
        reference_as: ``first_frame`` (the clip begins with the image) or ``asset`` (it shows who is meant; 8 s only).
        person_generation: what Google calls personGeneration; by default what the kind of request calls for.
        negative_prompt: what not to show.
        options: those of :class:`~interbench.systems.services.rest_job.RestJobSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        state="history",
        resumes_jobs=True,
        durations_s=(4.0, 6.0, 8.0),
        sizes=((720, 1280), (1280, 720), (1080, 1920), (1920, 1080)),
        fps=24.0,
        face_policy="adults",
        max_prompt_tokens=1024,
        seedable=True,
        poll_period_s=2.0,
        price_usd_per_s=0.40,
        announces_cost=True,
        status="3.1 probably still served by Vertex AI, past its earliest permitted retirement (2026-11-17); gone from "
        "the Gemini API since 2026-10-22; 3.0 retired everywhere on 2026-06-30",
        evidence_url="https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/model-versions",
        evidence_date=dt.date(2026, 11, 21),
    )
    prompt_file = "veo.j2"
    states: ClassVar[tuple[State, ...]] = ("reference", "last_frame", "extension")
    extension_s = 7.0

    def __init__(
        self,
        *,
        api: str = "vertex",
        model: str | None = None,
        project: str | None = None,
        location: str = "us-central1",
        base_url: str | None = None,
        key_env: str | None = None,
        reference_as: str = "first_frame",
        person_generation: str | None = None,
        negative_prompt: str = "subtitles, on-screen text, captions, logo, music",
        **options: Any,
    ) -> None:
        self.api = known_api(api)
        model = plain_name(
            "model", model or ("veo-3.1-generate-001" if self.api == "vertex" else "veo-3.1-generate-preview")
        )
        self._own = base_url is None
        key_env = key_env or default_variable(self.api)
        self._google = Google(self.api, project, location, key_env)
        if base_url is None:
            base_url = vertex_url(location) if self.api == "vertex" else GEMINI
        super().__init__(base_url=base_url, model=model, key_env=key_env, **options)
        if reference_as not in ("first_frame", "asset"):
            raise SystemLoadError(f"reference_as = {reference_as!r} is not known; it is first_frame or asset.")
        if min(self.size) not in _RESOLUTIONS or max(self.size) * 9 != min(self.size) * 16:
            raise SystemLoadError(f"Veo makes 16:9 or 9:16 at 720, 1080 or 2160 lines, not {self.size}; set size.")
        if (min(self.size) > 720 or reference_as == "asset") and (self.seconds != 8.0 or self.protocol == "scripted"):
            # The service makes nothing shorter at these sizes.
            self._only_eight_seconds()
        self._reference_as = reference_as
        self._person = person_generation
        self._negative = negative_prompt

    def _only_eight_seconds(self) -> None:
        self.capabilities = dataclasses.replace(self.capabilities, durations_s=(8.0,))
        self.seconds = 8.0

    def price(self) -> float | None:
        if not self._own:
            return None
        prices = next((table for name, table in _PRICES.items() if self.model.startswith(name)), {})
        return prices.get(min(self.size))

    def retired_on(self) -> dt.date | None:
        return _GEMINI_SHUT_DOWN if self.api == "gemini" and self._own else None

    def auth(self) -> Auth:
        return self._google.auth()

    def settings(self) -> Mapping[str, JsonValue]:
        return {
            **super().settings(),
            "api": self.api,
            "reference_as": self._reference_as,
            "person_generation": self._person,
            "negative_prompt": self._negative,
        }

    # -- requests -------------------------------------------------------------------------------------------------

    @property
    def _model_path(self) -> str:
        if self.api == "gemini":
            return f"/v1beta/models/{self.model}"
        return f"/v1/{self._google.place}/publishers/google/models/{self.model}"

    async def create(self, order: Order, assets: Mapping[str, str]) -> str:
        instance: dict[str, Any] = {"prompt": order.prompt}
        if order.previous_clip is not None:
            instance["video"] = await self._source(order)
        elif order.image is not None:
            image = {"bytesBase64Encoded": base64.b64encode(order.image).decode(), "mimeType": "image/png"}
            if self._reference_as == "asset":
                instance["referenceImages"] = [{"image": image, "referenceType": "asset"}]
            else:
                instance["image"] = image
        width, height = order.size
        parameters: dict[str, Any] = {
            "sampleCount": 1,
            "durationSeconds": int(order.seconds),
            "aspectRatio": "16:9" if width > height else "9:16",
            "resolution": _RESOLUTIONS[min(order.size)],
            "personGeneration": self._person or self._default_person(order),
            "negativePrompt": self._negative,
        }
        if order.previous_clip is not None:
            del parameters["durationSeconds"]
        if self.api == "vertex":
            parameters |= {"seed": order.turn.seed, "generateAudio": True}
        body = {"instances": [instance], "parameters": parameters}
        name = field(await self.service.submit(f"{self._model_path}:predictLongRunning", json_body=body), "name")
        return _operation(name)

    def _default_person(self, order: Order) -> str:
        # The Gemini API wants allow_all for text and allow_adult for images; Vertex knows allow_adult alone.
        return "allow_all" if self.api == "gemini" and order.image is None else "allow_adult"

    async def _source(self, order: Order) -> dict[str, str]:
        clip = order.previous_clip
        assert clip is not None
        if self.api == "gemini":
            if order.previous is None:
                message = "the address of the clip to be extended is not known any more"
                raise Ended(Failed("no_previous", message, charged=False))
            return {"uri": order.previous, "encoding": "video/mp4"}
        return {"bytesBase64Encoded": await asyncio.to_thread(_encoded, clip), "mimeType": "video/mp4"}

    async def poll(self, job_id: str) -> Working | Finished:
        if self.api == "gemini":
            answer = await self.service.read(f"/v1beta/{_operation(job_id)}")
        else:
            answer = await self.service.read(
                f"{self._model_path}:fetchPredictOperation",
                json_body={"operationName": _operation(job_id)},
                method="POST",
                max_bytes=self.max_inline_bytes * 4 // 3 + 2**16,
            )
        operation = mapped(answer.body)
        if operation.get("done") not in (True, "true"):
            return Working()
        response = mapped(operation.get("response"))
        result = mapped(response.get("generateVideoResponse", response))
        error = operation.get("error")
        if error and _video(result) is None:
            raise Ended(self._failed(error))
        return self._finished(result, [f"the operation has a video, and an error: {shown(error)}"] if error else [])

    def _failed(self, error: object) -> Blocked | Failed:
        told = mapped(error)
        if not told:
            # No code that says what became of it, so that it may have been charged.
            said = complaint({"error": error})
            return Failed("operation_error", self.service.redact(said.message), transient=True)
        said = complaint({"error": {"code": str(told.get("code", "")), "message": told.get("message", "")}})
        message = self.service.redact(said.message)
        code = whole(told.get("code"))
        if code == _CONTENT:
            # The service does not charge for what it refuses.
            return Blocked(str(code), message, _reasons([message]), charged=False)
        named = f"operation_{'error' if code is None else code}"
        return Failed(named, message, transient=code in _TRANSIENT, charged=None if code is None else False)

    def _finished(self, result: Mapping[str, Any], odd: list[str]) -> Finished:
        filtered = whole(result.get("raiMediaFilteredCount")) or 0
        told = result.get("raiMediaFilteredReasons")
        reasons = [self.service.redact(str(one)) for one in ([told] if isinstance(told, str) else listed(told)) if one]
        video = _video(result)
        if video is None:
            detail: dict[str, JsonValue] = {**_reasons(reasons), "filtered": filtered}
            if filtered or reasons:
                message = "; ".join(reasons) or f"{filtered} video(s) filtered, without a reason"
                raise Ended(Blocked("rai_filtered", message, detail, charged=False))
            message = "the operation is done, and holds neither a video nor a word on why there is none"
            raise Ended(Failed("no_video", message, transient=True, detail=detail))
        data, uri = video.get("bytesBase64Encoded"), video.get("uri") or video.get("gcsUri")
        if isinstance(data, str) and data:
            return Finished(inline=data, notices=odd)
        if isinstance(uri, str) and uri and not uri.startswith("gs:"):
            return Finished(url=uri, handle=uri, notices=odd)
        message = "the operation is done, and names a video without its content or its address"
        if isinstance(uri, str) and uri:
            message = "the clip was written to Cloud Storage, which was not asked for"
        raise Ended(Failed("no_video", message, charged=True, job_open=True))


def _video(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The video in the result of an operation, if there is one."""
    samples = listed(result.get("videos") or result.get("generatedSamples"))
    first = mapped(samples[0]) if samples else {}
    return mapped(first.get("video", first)) or None


def _operation(name: str) -> str:
    """The name of a long-running operation, which stands in addresses.

    Raises:
        Ended: it does not look like one.
    """
    if not _OPERATION.fullmatch(name) or ".." in name:
        raise Ended(Failed("unknown_submission", "the service gave an operation whose name can't stand in an address"))
    return name


def _reasons(texts: list[str]) -> dict[str, JsonValue]:
    """Google's support codes in ``texts``, and what they stand for."""
    codes = [code for text in texts for code in re.findall(r"\b\d{8}\b", text)]
    return {"support_codes": {code: _REASON.get(code, "unknown") for code in codes}} if codes else {}


def _encoded(clip: Path) -> str:
    if clip.stat().st_size > _MAX_EXTENDED_BYTES:
        message = f"the clip to be extended is longer than {_MAX_EXTENDED_BYTES} bytes"
        raise Ended(Failed("previous_too_large", message, charged=False))
    return base64.b64encode(clip.read_bytes()).decode()
