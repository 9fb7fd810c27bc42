"""How each service answers: one class per format."""

from __future__ import annotations

import base64
import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from video_state import (
    GUIDELINES,
    KEYS,
    Cut,
    FormatError,
    Job,
    Raw,
    Redirect,
    Seen,
    Spoil,
    Status,
    VideoServices,
    allow_only,
    check_fields,
    clip,
    multipart,
    png_size,
)


class Plumbing(BaseHTTPRequestHandler):
    """Keys, planned faults, downloads: what all formats share."""

    protocol_version = "HTTP/1.1"
    services: VideoServices
    routes: ClassVar[list[tuple[Any, ...]]] = []
    """(method, pattern of the path, kind, service, name of the handler)."""

    def log_message(self, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    # -- plumbing -------------------------------------------------------------------------------------------------

    def _handle(self) -> None:
        services = self.services
        self.raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        for key in KEYS.values():
            if key in self.path:
                services.wrong(f"a key in the address {parts.path}")
        routes = [
            (found, *route[2:])
            for route in self.routes
            if route[0] == self.command and (found := re.fullmatch(route[1], parts.path))
        ]
        if not routes:
            services.wrong(f"unknown route {self.command} {parts.path}")
            self._json(404, {"error": {"message": "unknown route", "code": "not_found"}})
            return
        found, kind, service, method = routes[0]
        with services.lock:
            services.seen.append(Seen(time.monotonic(), self.command, parts.path, kind, dict(self.headers.items())))
        if not self._authorized(service):
            return
        plan = services.next_plan(kind)
        if isinstance(plan, Status):
            body = plan.body if plan.body is not None else {"error": {"message": "planned", "code": "planned"}}
            self._json(plan.code, body, {"Retry-After": plan.retry_after} if plan.retry_after else {})
            return
        if isinstance(plan, Raw):
            self._raw(plan)
            return
        if isinstance(plan, Cut) and not plan.after:
            self._cut()
            return
        if isinstance(plan, Spoil) and plan.how == "hang":
            services.stalled.set()
            services.stopping.wait(60)
            self._cut()
            return
        self.plan = plan
        try:
            getattr(self, method)(found)
        except FormatError as problem:
            services.wrong(str(problem))
            self._json(400, {"error": {"message": str(problem), "code": "invalid_request", "type": "bad"}})

    def _raw(self, plan: Raw) -> None:
        self.send_response(plan.code)
        for name, value in plan.headers.items():
            self.send_header(name, value)
        if plan.endless:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(plan.body)))
        self.end_headers()
        self.services.taken = 0
        try:
            self.wfile.write(plan.body)
            while plan.endless and not self.services.stopping.is_set():
                self.services.taken += self.wfile.write(plan.body)
        except OSError:
            self.close_connection = True

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _authorized(self, service: str) -> bool:
        carried = [name for name, key in KEYS.items() if any(key in value for value in self.headers.values())]
        if service == "nobody":
            if carried:
                self.services.wrong(f"the key of {carried[0]} was shown to another host")
            return True
        expected = {
            "openai": [("authorization", "Bearer "), ("api-key", "")],
            "vertex": [("authorization", "Bearer ")],
            "gemini": [("x-goog-api-key", "")],
            "heygen": [("x-api-key", "")],
            "hedra": [("x-api-key", "")],
            "simple": [("authorization", "Bearer ")],
            "chat": [("authorization", "Bearer ")],
        }[service]
        good = any(self.headers.get(name) == scheme + KEYS[service] for name, scheme in expected)
        if not good or carried != [service]:
            # Echoing what was sent is what real services do; nothing of it may be kept.
            sent = " ".join(f"{name}: {value}" for name, value in self.headers.items())
            self._json(401, {"error": {"message": f"Incorrect API key provided: {sent}", "code": "invalid_api_key"}})
            return False
        return True

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        if isinstance(getattr(self, "plan", None), Cut):
            self.plan = None
            self._cut()
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> Any:
        if self.headers.get("Content-Type") != "application/json":
            raise FormatError(f"not JSON but {self.headers.get('Content-Type')}")
        return json.loads(self.raw)

    def _job(self, job_id: str) -> Job | None:
        job = self.services.jobs.get(job_id)
        if job is None:
            self._json(404, {"error": {"message": f"job {job_id} not found", "code": "not_found"}})
        return job

    def _waiting(self, job: Job) -> bool:
        """Count a poll; whether the job is still being worked on."""
        job.polls += 1
        return job.polls <= self.services.pending

    # -- downloads ------------------------------------------------------------------------------------------------

    def _video(self, job: Job) -> None:
        plan = self.plan
        self.plan = None
        data = clip(job.seconds, job.size)
        job.handed_out += 1
        if isinstance(plan, Redirect):
            self.send_response(302)
            self.send_header("Location", plan.to.replace("JOB", job.id))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        how = plan.how if isinstance(plan, Spoil) else ""
        if how == "html":
            data = b"<html>not a video</html>" * 50
        if how == "short":
            data = data[: len(data) // 2]
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        if how == "endless":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(10**12 if how == "declared" else len(data)))
        self.end_headers()
        if how == "declared":
            self._cut()
            return
        if how in ("truncated", "stall"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if how == "stall":
                self.services.stalled.set()
                self.services.stopping.wait(60)
            self._cut()
            return
        try:
            self.wfile.write(data)
            while how == "endless":
                self.wfile.write(bytes(2**16))
        except OSError:
            self.close_connection = True

    def cdn(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is not None:
            self._video(job)


class OpenAIVideos(Plumbing):
    """OpenAI Videos, held to the OpenAPI slice."""

    def _openai_video(self, job: Job, *, done: bool = False) -> dict[str, Any]:
        status, error = "in_progress", None
        if job.polls == 0:
            status = "queued"
        if done:
            status = "completed"
            if job.outcome == "moderation":
                status = "failed"
                message = "Your request was blocked by our moderation system."
                error = {"code": "moderation_blocked", "message": message}
            elif job.outcome != "completed":
                status, error = "failed", {"code": "processing_error", "message": "Something went wrong."}
        video = {
            "id": job.id,
            "object": "video",
            "model": job.request.get("model", "sora-2"),
            "status": status,
            "progress": 100 if done else 0 if job.polls == 0 else 40,
            "created_at": job.created,
            "completed_at": job.created + 42 if status == "completed" else None,
            "expires_at": job.created + 3600 if status == "completed" else None,
            "prompt": job.request.get("prompt"),
            "size": f"{job.size[0]}x{job.size[1]}",
            "seconds": f"{job.seconds:g}",
            "remixed_from_video_id": None,
            "error": error,
        }
        check_fields("VideoResource", video)
        return video

    def openai_create(self, found: re.Match[str]) -> None:
        if self.services.retired:
            message = (
                "The Sora 2 models and Videos API were shut down on September 24, 2026 and are no longer available."
            )
            self._json(404, {"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}})
            return
        fields = multipart(self.headers, self.raw)
        extra: dict[str, Any] = {name: fields.pop(name) for name in ("seed", "num_inference_steps") if name in fields}
        reference = fields.get("input_reference")
        if reference is not None:
            name, data, kind = reference
            fields["input_reference"] = data
            if kind != "image/png" or not name:
                raise FormatError("input_reference wants a file name and a type")
        check_fields("CreateVideoMultipartBody", fields)
        width, height = map(int, fields.get("size", "720x1280").split("x"))
        if reference is not None and png_size(reference[1]) != (width, height):
            raise FormatError("Inpaint image must match the requested width and height")
        request: dict[str, Any] = {**fields, **extra, "image": reference is not None}
        request.pop("input_reference", None)
        job = self.services.create("openai", float(fields.get("seconds", "4")), (width, height), request)
        self._json(200, self._openai_video(job))

    def openai_extend(self, found: re.Match[str]) -> None:
        body = self._body()
        check_fields("CreateVideoExtendJsonBody", body)
        allow_only("video", body["video"], {"id"})
        source = self.services.jobs[body["video"]["id"]]
        job = self.services.create("openai", float(body["seconds"]), source.size, body)
        self._json(200, self._openai_video(job))

    def openai_get(self, found: re.Match[str]) -> None:
        if self.raw:
            raise FormatError("a GET with a body")
        if (job := self._job(found[1])) is None:
            return
        done = not self._waiting(job)
        hint = self.services.poll_hint_ms
        self._json(200, self._openai_video(job, done=done), {"openai-poll-after-ms": hint} if hint else {})

    def openai_content(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is not None:
            if "video" in job.request:
                # What is handed out of an extension is the whole of it.
                job = Job(job.id, job.service, job.seconds + 4, job.size, job.outcome, job.request)
            self._video(job)

    def openai_delete(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is not None:
            job.cancelled = True
            body = {"id": job.id, "deleted": True, "object": "video.deleted"}
            self._json(200, body)


class Veo(Plumbing):
    """Veo by Vertex AI and by the Gemini API."""

    def _veo_create(self, api: str, model: str, place: str) -> None:
        if self.services.retired:
            message = f"models/{model} is no longer available."
            self._json(404, [{"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}])
            return
        body = self._body()
        allow_only("body", body, {"instances", "parameters"}, {"labels"} if api == "vertex" else set())
        (instance,) = body["instances"]
        allow_only("instance", instance, {"prompt"}, {"image", "lastFrame", "referenceImages", "video"})
        common = {"sampleCount", "durationSeconds", "aspectRatio", "resolution", "personGeneration", "negativePrompt"}
        common |= {"enhancePrompt"}
        only_vertex = {"storageUri", "fps", "seed", "generateAudio", "compressionQuality", "resizeMode", "pubsubTopic"}
        parameters = body["parameters"]
        allow_only("parameters", parameters, set(), common | (only_vertex if api == "vertex" else set()))
        if api == "vertex" and parameters.get("generateAudio") is not True:
            raise FormatError("generateAudio is needed")
        if "seed" in parameters and not 0 <= parameters["seed"] < 2**32:
            raise FormatError("seed is no uint32")
        if parameters["aspectRatio"] not in ("16:9", "9:16"):
            message = f"`aspectRatio` does not support `{parameters['aspectRatio']}`"
            self._json(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
            return
        seconds = parameters.get("durationSeconds", 7 if "video" in instance else 8)
        if type(seconds) is not int or seconds not in (4, 6, 7, 8):
            raise FormatError(f"durationSeconds {seconds!r}")
        lines = {"720p": 720, "1080p": 1080}[parameters["resolution"]]
        size = (lines, lines * 16 // 9) if parameters["aspectRatio"] == "9:16" else (lines * 16 // 9, lines)
        if "image" in instance and "referenceImages" in instance:
            raise FormatError("image and referenceImages are exclusive")
        images = [reference["image"] for reference in instance.get("referenceImages", ())]
        for image in [*images, *([instance["image"]] if "image" in instance else [])]:
            allow_only("image", image, {"bytesBase64Encoded", "mimeType"})
            if png_size(base64.b64decode(image["bytesBase64Encoded"], validate=True)) != size:
                raise FormatError("the image has another size than the clip")
        if (lines > 720 or images or "video" in instance) and seconds not in (7, 8):
            raise FormatError("8 s are compulsory")
        allowed = "allow_adult" if api == "vertex" or "image" in instance or images else "allow_all"
        if parameters["personGeneration"] != allowed:
            raise FormatError(f"personGeneration is {parameters['personGeneration']}")
        if len(instance["prompt"]) / 3.5 > 1024:
            raise FormatError("the prompt is too long")
        if "video" in instance and api == "vertex":
            allow_only("video", instance["video"], {"bytesBase64Encoded", "mimeType"})
            base64.b64decode(instance["video"]["bytesBase64Encoded"], validate=True)
        elif "video" in instance:
            allow_only("video", instance["video"], {"uri", "encoding"})
        job = self.services.create(api, float(seconds), size, body)
        self._json(200, {"name": f"{place}/operations/{job.id}"})

    def _veo_operation(self, api: str, job: Job, name: str) -> dict[str, Any]:
        if self._waiting(job):
            return {"name": name}
        if job.outcome.startswith("error_"):
            code = int(job.outcome.removeprefix("error_"))
            message = {
                3: GUIDELINES,
                8: "The request was throttled: resources are exhausted.",
                13: "Video generation failed due to an internal server issue. Please try again.",
            }[code]
            return {"name": name, "done": True, "error": {"code": code, "message": message, "details": []}}
        result: dict[str, Any] = {}
        if job.outcome == "under_delivery":
            reason = "Your audio could not be used. Support codes: 42237218"
            result = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [reason]}
        elif api == "vertex":
            data = base64.b64encode(clip(job.seconds, job.size)).decode()
            result = {"raiMediaFilteredCount": 0, "videos": [{"bytesBase64Encoded": data, "mimeType": "video/mp4"}]}
        else:
            uri = f"{self.services.url}/gemini/v1beta/files/{job.id}:download?alt=media"
            result = {"generatedSamples": [{"video": {"uri": uri}}]}
        if api == "vertex":
            kind = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"
            return {"name": name, "done": True, "response": {"@type": kind, **result}}
        kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
        return {"name": name, "done": True, "response": {"@type": kind, "generateVideoResponse": result}}

    def vertex_create(self, found: re.Match[str]) -> None:
        self._veo_create("vertex", found[2], found[1])

    def vertex_poll(self, found: re.Match[str]) -> None:
        body = self._body()
        allow_only("body", body, {"operationName"})
        place, _, job_id = body["operationName"].rpartition("/operations/")
        if place != found[1]:
            raise FormatError("the operation belongs to another model")
        if (job := self._job(job_id)) is not None:
            self._json(200, self._veo_operation("vertex", job, body["operationName"]))

    def gemini_create(self, found: re.Match[str]) -> None:
        self._veo_create("gemini", found[1], f"models/{found[1]}")

    def gemini_poll(self, found: re.Match[str]) -> None:
        if (job := self._job(found[2])) is not None:
            self._json(200, self._veo_operation("gemini", job, f"{found[1]}/operations/{found[2]}"))

    def gemini_file(self, found: re.Match[str]) -> None:
        if self.query.get("alt") != ["media"]:
            raise FormatError("alt=media is missing")
        if (job := self._job(found[1])) is not None:
            self._video(job)


class Omni(Plumbing):
    """Gemini Omni: the Interactions API."""

    def omni_create(self, found: re.Match[str]) -> None:
        if self.services.retired:
            message = "models/gemini-omni-flash-preview is no longer available."
            self._json(404, {"error": {"message": message, "code": "not_found"}})
            return
        service = "vertex" if "/vertex/" in self.path else "gemini"
        body = self._body()
        allow_only(
            "interaction",
            body,
            {"model", "background", "store", "input", "response_format", "generation_config"},
            {"previous_interaction_id"},
        )
        if body["background"] is not True:
            raise FormatError("the request would block")
        (entry,) = body["input"]
        allow_only("input", entry, {"type", "content"})
        form = body["response_format"]
        allow_only("response_format", form, {"type", "delivery", "aspect_ratio", "resolution", "duration"})
        allow_only("generation_config", body["generation_config"], {"video_config"}, {"seed"})
        lines = {"360p": 360, "720p": 720, "1080p": 1080}[form["resolution"]]
        size = (lines, lines * 16 // 9) if form["aspect_ratio"] == "9:16" else (lines * 16 // 9, lines)
        seconds = float(re.fullmatch(r"(\d+)s", form["duration"])[1])  # type: ignore[index]
        if not 3 <= seconds <= 10:
            raise FormatError("clips take 3 to 10 s")
        kinds = [content["type"] for content in entry["content"]]
        task = body["generation_config"]["video_config"]["task"]
        if task != ("image_to_video" if "image" in kinds else "text_to_video") or kinds[-1] != "text":
            raise FormatError(f"task {task} with {kinds}")
        for content in entry["content"]:
            if content["type"] == "image":
                allow_only("image", content, {"type", "data", "mime_type"})
                if png_size(base64.b64decode(content["data"], validate=True)) != size:
                    raise FormatError("the image has another size than the clip")
        previous = body.get("previous_interaction_id")
        if previous is not None and previous not in self.services.jobs:
            self._json(400, {"error": {"message": "Invalid interaction name", "code": "invalid_request"}})
            return
        job = self.services.create(service, seconds, size, body)
        self._json(200, self._interaction(job, "in_progress"))

    def _interaction(self, job: Job, status: str) -> dict[str, Any]:
        return {
            "id": job.id,
            "object": "interaction",
            "status": status,
            "created": "2026-10-08T18:26:33Z",
            "updated": "2026-10-08T18:27:02Z",
            "model": "gemini-omni-1.1-flash",
            "service_tier": "standard",
        }

    def omni_get(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is None:
            return
        if self._waiting(job):
            self._json(200, self._interaction(job, "cancelled" if job.cancelled else "in_progress"))
            return
        answer = self._interaction(job, "completed")
        if job.outcome == "failed":
            answer |= {"status": "failed", "errors": [{"code": "internal", "message": "Something went wrong."}]}
        elif job.outcome == "text_only":
            words = {"type": "text", "text": "I can't make a video of this person."}
            answer["steps"] = [{"type": "model_output", "content": [words]}]
            answer["usage"] = {"output_tokens_by_modality": [{"modality": "text", "tokens": 9}]}
        else:
            uri = f"{self.services.elsewhere}/cdn/{job.id}.mp4"
            video = {"type": "video", "uri": uri, "mime_type": "video/mp4"}
            answer["steps"] = [{"type": "thought"}, {"type": "model_output", "content": [video]}]
            tokens = round(5792 * job.seconds)
            answer["usage"] = {"output_tokens_by_modality": [{"modality": "video", "tokens": tokens}]}
        self._json(200, answer)

    def omni_cancel(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is not None:
            job.cancelled = True
            self._json(200, self._interaction(job, "cancelled"))


class HeyGenAndHedra(Plumbing):
    """HeyGen v3 and Hedra."""

    def heygen_asset(self, found: re.Match[str]) -> None:
        fields = multipart(self.headers, self.raw)
        allow_only("form", fields, {"file"})
        asset = f"ast_{len(self.services.assets) + 1}"
        self.services.assets[asset] = fields["file"]
        self._json(200, {"data": {"asset_id": asset, "mime_type": fields["file"][2], "size_bytes": 1}})

    def heygen_create(self, found: re.Match[str]) -> None:
        if self.services.retired:
            self._json(410, {"error": {"code": "gone", "message": "This endpoint has been discontinued."}})
            return
        body = self._body()
        speech = {"script", "voice_id"} if "script" in body else {"audio_asset_id"}
        who = {"avatar_id", "engine"} if body.get("type") == "avatar" else {"image"}
        allow_only("body", body, {"type", "title", "aspect_ratio", "resolution", "motion_prompt"} | speech | who)
        size = {"720p": (720, 1280), "1080p": (1080, 1920)}[body["resolution"]]
        if body["aspect_ratio"] == "16:9":
            size = size[::-1]
        if "image" in body:
            allow_only("image", body["image"], {"type", "asset_id"})
            if png_size(self.services.assets[body["image"]["asset_id"]][1]) != size:
                raise FormatError("the portrait has another size than the clip")
        seconds = 3.0
        if "audio_asset_id" in body and self.services.assets[body["audio_asset_id"]][2] != "audio/wav":
            raise FormatError("the audio asset is no sound")
        job = self.services.create("heygen", seconds, size, body)
        self._json(200, {"data": {"video_id": job.id}})

    def heygen_get(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is None:
            return
        if self._waiting(job):
            self._json(200, {"data": {"id": job.id, "status": "waiting" if job.polls == 1 else "processing"}})
            return
        data: dict[str, Any] = {"id": job.id, "status": "completed", "duration": job.seconds}
        if job.outcome == "completed":
            data["video_url"] = f"{self.services.elsewhere}/cdn/{job.id}.mp4"
        else:
            moderated = job.outcome == "moderation"
            code = "CONTENT_MODERATION" if moderated else "internal_error"
            message = "Blocked by content moderation." if moderated else "Rendering failed."
            data |= {"status": "failed", "failure_code": code, "failure_message": message}
        self._json(200, {"data": data})

    def hedra_asset(self, found: re.Match[str]) -> None:
        body = self._body()
        allow_only("asset", body, {"name", "type"})
        if body["type"] not in ("image", "audio"):
            raise FormatError(f"asset type {body['type']}")
        asset = f"asset-{len(self.services.assets) + 1}"
        self.services.assets[asset] = {**body, "data": None}
        self._json(200, {"id": asset, **body})

    def hedra_upload(self, found: re.Match[str]) -> None:
        fields = multipart(self.headers, self.raw)
        allow_only("form", fields, {"file"})
        self.services.assets[found[1]]["data"] = fields["file"][1]
        self._json(200, {"id": found[1]})

    def hedra_create(self, found: re.Match[str]) -> None:
        if self.services.retired:
            self._json(404, {"detail": "This model is no longer available."})
            return
        body = self._body()
        allow_only(
            "generation", body, {"type", "ai_model_id", "start_keyframe_id", "audio_id", "generated_video_inputs"}
        )
        inputs = body["generated_video_inputs"]
        allow_only("inputs", inputs, {"text_prompt", "resolution", "aspect_ratio"}, {"seed", "duration_ms"})
        image, audio = (self.services.assets[body[name]] for name in ("start_keyframe_id", "audio_id"))
        if image["type"] != "image" or audio["type"] != "audio" or not image["data"] or not audio["data"]:
            raise FormatError("assets are mixed up or empty")
        if not audio["data"].startswith(b"RIFF"):
            raise FormatError("the sound is no WAV")
        size = {"9:16": (720, 1280), "16:9": (1280, 720), "1:1": (720, 720)}[inputs["aspect_ratio"]]
        if png_size(image["data"]) != size:
            raise FormatError("the portrait has another size than the clip")
        job = self.services.create("hedra", 3.0, size, body)
        self._json(200, {"id": job.id, "status": "queued"})

    def hedra_status(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is None:
            return
        if self._waiting(job):
            self._json(200, {"id": job.id, "status": "processing", "progress": 0.3})
        elif job.outcome == "completed":
            url = f"{self.services.elsewhere}/cdn/{job.id}.mp4"
            self._json(200, {"id": job.id, "status": "complete", "progress": 1.0, "download_url": url})
        else:
            moderated = job.outcome == "moderation"
            words = "The request was flagged by content moderation." if moderated else "Generation failed."
            self._json(200, {"id": job.id, "status": "error", "error_message": words})


class SimpleAndChat(Plumbing):
    """The service of the documentation's example, and a chat model."""

    def simple_create(self, found: re.Match[str]) -> None:
        body = self._body()
        allow_only("body", body, {"text", "length_s", "portrait_png"})
        base64.b64decode(body["portrait_png"], validate=True)
        job = self.services.create("simple", float(body["length_s"]), (96, 160), body)
        self._json(201, {"task": job.id})

    def simple_get(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is None:
            return
        if self._waiting(job):
            self._json(200, {"state": "running", "done": 0.5})
        elif job.outcome == "completed":
            self._json(200, {"state": "ready", "clip": f"/tasks/{job.id}/clip.mp4"})
        else:
            self._json(200, {"state": "refused", "why": "Blocked by content policy."})

    def simple_clip(self, found: re.Match[str]) -> None:
        if (job := self._job(found[1])) is not None:
            self._video(job)

    def chat(self, found: re.Match[str]) -> None:
        body = self._body()
        if body.get("temperature") != 0 or "seed" not in body:
            raise FormatError("scripts want temperature 0 and a seed")
        with self.services.lock:
            self.services.chats.append(body)
        turn = sum(message["role"] == "user" for message in body["messages"])
        content = f"Answer {turn}. {self.services.chat_reply}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        self._json(200, {"id": "c", "object": "chat.completion", "choices": [choice]})
