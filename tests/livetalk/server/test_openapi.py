"""The description at /openapi.json: valid, complete, and in step with what is served and documented."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from live_kit import Clip, LiveServer, tone, wav
from livetalk.server.limits import Limits
from livetalk.server.problems import KINDS
from livetalk.server.routes import open_routes, routes

DOCS = Path(__file__).parents[3] / "docs" / "conversation-protocol.md"
PORTRAIT = Path(__file__).parents[3] / "runners" / "livetalk" / "server" / "page" / "portrait-maya.jpg"

#: Errors that no operation can document: they concern requests for none.
OF_NO_OPERATION = {"method_not_allowed"}


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPI.model_validate(document)
    assert set(document) <= {"openapi", "info", "servers", "paths", "components", "security", "tags", "webhooks"}
    for node in nodes(document):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            target: Any = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            assert isinstance(target, dict)
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    known_tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations(document):
        assert method in {"get", "post", "delete"} and path.startswith("/")
        declared = {entry["name"] for entry in operation.get("parameters", ()) if entry["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert all(entry["required"] is True for entry in operation.get("parameters", ()) if entry["in"] == "path")
        assert operation["summary"] and operation["description"] and set(operation["tags"]) <= known_tags
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status) and response["description"]
            for kind, content in response.get("content", {}).items():
                assert "/" in kind and content["schema"]


def test_every_route_is_there(document: dict[str, Any]) -> None:
    served = {(method.lower(), route.path) for router in (open_routes, routes) for route in router.routes for method in route.methods}  # type: ignore[attr-defined]  # fmt: skip # noqa: E501
    assert {(method, path) for method, path, _ in operations(document)} == served


def test_every_error_is_documented_where_it_can_come(document: dict[str, Any]) -> None:
    found: dict[str, set[str]] = {}
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                content = response["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
                for code, example in content["examples"].items():
                    assert example["value"]["error"]["code"] == code
                    assert KINDS[code].status == int(status)
                    assert f"`{code}`" in response["description"]
                    found.setdefault(code, set()).add(f"{method} {path}")
    assert set(found) == set(KINDS) - OF_NO_OPERATION
    turns = "post /v1/conversations/{conversation}/turns"
    assert found["timed_out"] == {turns, "get /v1/voices/{voice}/sample"}
    assert found["full"] == {"post /v1/conversations"}
    assert len(found["expired"]) == 5 and turns in found["expired"]


def test_who_needs_the_token(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["security"] == [{"token": []}, {}]
    without = {path for _, path, operation in operations(document) if operation.get("security") == []}
    assert without == {"/", "/health", "/page/{name}"}
    for _, path, operation in operations(document):
        assert ("401" in operation["responses"]) == (path not in without)


def test_bodies_and_clips(document: dict[str, Any]) -> None:
    turn = document["paths"]["/v1/conversations/{conversation}/turns"]["post"]
    assert set(turn["requestBody"]["content"]) == {
        *("multipart/form-data", "application/x-www-form-urlencoded", "application/json", "audio/L16", "audio/*")
    }
    form = turn["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"text", "audio", "played_s"} and form["additionalProperties"] is False
    assert form["properties"]["text"]["maxLength"] == Limits().text_chars
    assert set(turn["responses"]["200"]["content"]) == {"video/mp4"}
    assert turn["responses"]["200"]["headers"]["Livetalk-Turn"]["schema"]["type"] == "integer"
    opening = document["paths"]["/v1/conversations"]["post"]["requestBody"]
    assert opening["required"] is False
    fields = opening["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(fields) == {"image", "prompt", "persona", "voice", "pitch", "rate", "seed"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_guide_names_every_route_field_and_error(document: dict[str, Any]) -> None:
    guide = DOCS.read_text("utf-8")
    for method, path, _ in operations(document):
        if not path.startswith("/page"):
            assert re.search(rf"`{method.upper()} {re.escape(path)}[`?]", guide), f"{method} {path}"
    for code, kind in KINDS.items():
        assert re.search(rf"\| {kind.status} +\| `{code}`", guide), code
    for schema in ("Health", "Video", "ConversationOpened", "Conversation", "Turn", "Timings"):
        for name in document["components"]["schemas"][schema]["properties"]:
            assert f"`{name}`" in guide, f"{schema}.{name}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="THE GUIDE'S EXAMPLES WERE NOT RUN: there is no curl here")
def test_the_guides_examples_run(server: LiveServer, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 5
    shutil.copyfile(PORTRAIT, tmp_path / "portrait.jpg")
    samples = tone(0.5, rate=16_000)
    (tmp_path / "question.wav").write_bytes(wav(samples))
    (tmp_path / "question.s16be").write_bytes((samples * 32_767).astype(">i2").tobytes())
    finished = subprocess.run(
        ["sh", "-eu"],
        input="\n".join(blocks),
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "LIVETALK": server.url, "no_proxy": "*"},
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    assert '"status":"ready"' in finished.stdout and '"index":2,"outcome":"completed"' in finished.stdout
    for number in (1, 2, 3):
        assert Clip((tmp_path / f"answer-{number}.mp4").read_bytes()).frames > 0
    assert server.service.health.sessions == 1, "the second conversation is left open"
