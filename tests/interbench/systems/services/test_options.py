"""Options that are wrong are said early, and what services answer is read in every known shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from video_services import GUIDELINES

from interbench.base.errors import SystemLoadError
from interbench.systems.events import Blocked, Failed, Retired
from interbench.systems.registry import SystemSpec
from interbench.systems.services.http_jobs import JobService, KeyAuth, service_url
from interbench.systems.services.job import quoted_id
from interbench.systems.services.service_errors import Ended, complaint, refusal


@pytest.mark.parametrize(
    ("system", "options", "words"),
    [
        ("sora", {"protocol": "telepathy"}, "self-answer, scripted"),
        ("sora", {"state": "session"}, "reference, last_frame, extension"),
        ("sora", {"seconds": 5}, "allowed: 4, 8, 12"),
        ("sora", {"durations": []}, "durations"),
        ("sora", {"size": "huge"}, "WIDTHxHEIGHT"),
        ("sora", {"auth_header": "X-Key"}, "Authorization or api-key"),
        ("sora", {"base_url": "http://video.example.com/v1"}, "plain HTTP"),
        ("sora", {"base_url": "https://me:secret@example.com"}, "user name"),
        ("sora", {"colour": "red"}, "colour"),
        ("veo", {"api": "rest"}, "vertex or gemini"),
        ("veo", {"size": "512x512"}, "16:9 or 9:16"),
        ("veo", {"model": "../x"}, "can't stand in an address"),
        ("veo", {"reference_as": "ghost"}, "first_frame or asset"),
        ("gemini-omni", {"size": "500x500"}, "16:9 or 9:16"),
        ("heygen", {"protocol": "self-answer"}, "scripted"),
        ("heygen", {"size": "96x160"}, "720 or 1080"),
        ("hedra", {"size": "96x160"}, "540 or 720"),
    ],
)
def test_wrong_options(system: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SystemLoadError, match=words) as error:
        SystemSpec("it", system, options).factory()()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("system", ["veo", "gemini-omni", "heygen", "hedra"])
async def test_credentials_are_missing_when_the_system_starts_not_before(
    system: str, monkeypatch: pytest.MonkeyPatch, services: Any
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    for variable in ("HEYGEN_API_KEY", "HEDRA_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    made = SystemSpec("it", system, {"model": "m"}).factory()()
    with pytest.raises(SystemLoadError, match=r"environment variable|access token|credentials"):
        await made.start()


async def test_hedra_needs_a_model(services: Any) -> None:
    with pytest.raises(SystemLoadError, match="/models"):
        await SystemSpec("it", "hedra", {"key_env": "TEST_HEDRA_KEY"}).factory()().start()


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "m", "type": "t", "param": None, "code": "c"}}, "c", "m"),
        ({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT", "m"),
        ([{"error": {"code": 404, "message": "m", "status": "NOT_FOUND"}}], "NOT_FOUND", "m"),
        ({"error": {"message": "m", "code": "invalid_request"}}, "invalid_request", "m"),
        ({"error": "m"}, "http_400", "m"),
        ({"code": "x", "message": "m"}, "x", "m"),
        ({"detail": "m"}, "http_400", "m"),
        ("<html>bad\n gateway</html>", "http_400", "<html>bad gateway</html>"),
        (None, "http_400", ""),
        ([], "http_400", ""),
        ({"error": None}, "http_400", "None"),
    ],
)
def test_error_bodies(body: Any, code: str, message: str) -> None:
    found = complaint(body, 400)
    assert (found.code, found.message) == (code, message)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "models/veo-3.0-generate-001 is no longer available.", Retired),
        (410, "This API has been discontinued", Retired),
        (404, "The model `gpt-x` does not exist", Failed),
        (400, "Your request was blocked by our moderation system.", Blocked),
        (400, GUIDELINES, Blocked),
        (400, "Inpaint image must match the requested width and height", Failed),
        (401, "Incorrect API key provided", Failed),
        (403, "Your organization must be verified", Failed),
    ],
)
def test_refusals(status: int, message: str, kind: type) -> None:
    final = refusal(status, complaint({"error": {"message": message, "code": "x"}}))
    assert type(final) is kind and isinstance(final, (Blocked, Failed, Retired))
    assert final.charged is False


def test_ids_that_are_paths_are_refused() -> None:
    assert quoted_id("video_1-a.b") == "video_1-a.b"
    for bad in ("../admin", "a/b", "a?b", "", "x" * 300, "a..b", "a b"):
        with pytest.raises(Ended):
            quoted_id(bad)


async def test_a_key_is_shown_to_its_own_address_alone(services: Any) -> None:
    service = JobService(service_url("https://api.example.com/v1/"), KeyAuth("TEST_OPENAI_KEY"))
    try:
        assert await service.headers_for("https://api.example.com:443/x") == {
            "Authorization": "Bearer sk-openai-secret-0123456789"
        }
        for url in (
            "http://api.example.com/x",
            "https://api.example.com:8443/x",
            "https://api.example.com.evil.org/x",
            "https://evil.org/api.example.com",
        ):
            assert await service.headers_for(url) == {}
        assert service.may_fetch("https://cdn.example.org/clip")
        for url in ("http://127.0.0.1/clip", "http://cdn.example.org/clip", "file:///etc/passwd", "gs://bucket/clip"):
            assert not service.may_fetch(url)
        assert "sk-openai" not in json.dumps(service.redact("you sent sk-openai-secret-0123456789"))
        assert "sk-openai" not in repr(vars(service._auth))
    finally:
        await service.close()
