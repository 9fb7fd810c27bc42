"""What the adapters send, held against what the makers' own SDKs send."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from video_services import WIRE, stated_s

from interbench.store.run_folder import Run
from interbench.systems.registry import SystemSpec
from interbench.systems.services import gemini_omni

GOLDEN = json.loads((WIRE / "golden.json").read_text())


def strangers(body: Any, golden: Any, where: str = "") -> list[str]:
    """Fields of ``body`` that the golden request does not have, or has with another type."""
    if isinstance(golden, dict):
        if not isinstance(body, dict):
            return [where]
        return [
            found
            for name, value in body.items()
            for found in (strangers(value, golden[name], f"{where}.{name}") if name in golden else [f"{where}.{name}"])
        ]
    if isinstance(golden, list):
        return [found for item in body for found in strangers(item, golden[0], f"{where}[]")]
    return [] if type(body).__name__ == golden else [where]


def sent(services: Any) -> list[Any]:
    return [job.request for job in services.jobs.values()]


async def test_sora_multipart(adapters: Any, play: Any, services: Any) -> None:
    await play(adapters["sora"], turns=1, extra={"num_inference_steps": 4}, send_seed=True)
    (request,) = sent(services)
    assert request["image"]
    assert (request["model"], request["seconds"], request["size"]) == ("sora-2", "4", "96x160")
    assert request["num_inference_steps"] == "4"
    assert int(request["seed"]) >= 0
    assert set(request) - {"image", "seed", "num_inference_steps"} == set(GOLDEN["sora"]["fields"]) - {
        "input_reference"
    }
    submit = next(seen for seen in services.seen if seen.kind == "submit")
    assert (submit.method, submit.path.removeprefix("/openai")) == ("POST", GOLDEN["sora"]["path"])
    assert submit.headers["Authorization"].startswith(GOLDEN["sora"]["value"])


async def test_azure_wants_another_header(adapters: Any, play: Any, services: Any) -> None:
    (exchange,) = await play(adapters["sora"], turns=1, auth_header="api-key", model="my-deployment")
    assert exchange.completed, exchange
    submit = next(seen for seen in services.seen if seen.kind == "submit")
    assert "api-key" in submit.headers
    assert "Authorization" not in submit.headers


async def test_sora_extension(adapters: Any, play: Any, services: Any, tmp_path: Path) -> None:
    exchanges = await play(adapters["sora"], state="extension")
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    first, second = services.jobs.values()
    assert strangers(second.request, GOLDEN["sora_extension"]) == []
    assert second.request["video"] == {"id": first.id}
    # The service hands out all 8 s; the answer is the new end alone.
    assert exchanges[1].facts.duration_s == pytest.approx(4.0, abs=0.1)
    assert exchanges[1].detail["cut_from_s"] > 7.9
    assert exchanges[1].cost_usd == pytest.approx(0.4)


async def test_veo_by_vertex(adapters: Any, play: Any, services: Any) -> None:
    (exchange,) = await play(adapters["veo"], turns=1)
    (request,) = sent(services)
    assert strangers(request, GOLDEN["veo"]) == []
    assert request["parameters"]["durationSeconds"] == 4
    assert exchange.facts.fps == 24
    assert {seen.method for seen in services.seen if seen.kind == "poll"} == {"POST"}


async def test_veo_with_reference_assets_takes_eight_seconds(adapters: Any, play: Any, services: Any) -> None:
    (exchange,) = await play(adapters["veo"], turns=1, reference_as="asset", seconds=None)
    (request,) = sent(services)
    assert strangers(request["instances"], GOLDEN["veo_assets"]["instances"]) == []
    assert request["parameters"]["durationSeconds"] == 8
    assert exchange.cost_usd == pytest.approx(8 * 0.4)


@pytest.mark.parametrize("name", ["veo", "veo-gemini"])
async def test_veo_extension_adds_seven_seconds(name: str, adapters: Any, play: Any, services: Any) -> None:
    exchanges = await play(adapters[name], state="extension")
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    _, request = sent(services)
    assert "video" in request["instances"][0]
    assert exchanges[1].cost_usd == pytest.approx(7 * 0.4)
    if name == "veo-gemini":
        assert strangers(request, GOLDEN["veo_gemini"]) == []


async def test_veo_in_the_form_of_the_gemini_api(adapters: Any, play: Any, services: Any) -> None:
    exchanges = await play(adapters["veo-gemini"], reference="image", turns=1)
    assert exchanges[0].completed, exchanges
    (request,) = sent(services)
    assert strangers(request, GOLDEN["veo_gemini"]) == []
    assert request["parameters"]["personGeneration"] == "allow_adult"
    assert "seed" not in request["parameters"]


async def test_omni_goes_on_from_the_interaction_before(adapters: Any, play: Any, services: Any) -> None:
    exchanges = await play(adapters["omni"], count=2)
    requests = sent(services)
    assert [strangers(request, GOLDEN["omni"]) for request in requests] == [[]] * 4
    ids = list(services.jobs)
    assert [request.get("previous_interaction_id") for request in requests] == [None, ids[0], None, ids[2]]
    assert exchanges[0].detail["server_s"] == 29
    assert exchanges[0].detail["video_tokens"] == 3 * 5792


async def test_omni_by_vertex(adapters: Any, play: Any, services: Any) -> None:
    (exchange,) = await play(
        adapters["omni"],
        turns=1,
        api="vertex",
        project="proj",
        base_url=services.url + "/vertex",
        key_env="TEST_VERTEX_KEY",
        state="reference",
    )
    assert exchange.completed, exchange


async def test_omni_is_charged_by_tokens(
    adapters: Any, play: Any, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemini_omni, "GEMINI", services.url + "/gemini")
    (exchange,) = await play(adapters["omni"], turns=1, base_url=None, price_usd_per_s=None)
    assert exchange.cost_usd == pytest.approx(3 * 5792 * 17.5e-6)


async def test_the_last_frame_goes_on_into_the_next_clip(adapters: Any, play: Any, services: Any) -> None:
    exchanges = await play(adapters["veo"], state="last_frame")
    assert [exchange.detail["reference"]["sent"] for exchange in exchanges] == ["portrait", "last frame"]
    second = sent(services)[1]["instances"][0]["image"]["bytesBase64Encoded"]
    with Image.open(io.BytesIO(base64.b64decode(second))) as image:
        assert image.size == (720, 1280)
        # The clip before is a plain grey with a white mark: no trace of the portrait.
        assert image.convert("L").getpixel((360, 640)) == pytest.approx(87, abs=6)


async def test_heygen_with_a_voice_of_its_own_or_synthesized_sound(adapters: Any, play: Any, services: Any) -> None:
    await play(adapters["heygen"], turns=1, out="a")
    await play(adapters["heygen"], turns=1, voice_id="v1", out="b")
    await play(adapters["heygen"], turns=1, voice_id="v1", avatar_id="a1", out="c")
    sound, script, avatar = sent(services)
    assert stated_s(services.assets[sound["audio_asset_id"]][1]) > 1
    assert script["script"].startswith("Answer 1.")
    assert avatar["engine"] == {"type": "avatar_iv"}


async def test_a_portrait_is_uploaded_once(adapters: Any, play: Any, services: Any) -> None:
    await play(adapters["heygen"], voice_id="v1", count=2)
    assert services.count("upload") == 1


async def test_the_choice_of_the_reference_is_recorded(adapters: Any, play: Any, services: Any) -> None:
    (words,) = await play(adapters["sora"], turns=1, reference="words", out="a")
    (image,) = await play(adapters["sora"], turns=1, out="b")
    assert [request["image"] for request in sent(services)] == [False, True]
    assert words.detail["reference"] == {"sent": "words", "why": "asked for in the settings"}
    assert image.detail["reference"]["sent"] == "portrait"
    assert image.detail["reference"]["size"] == "96x160"
    assert len(image.detail["reference"]["sha256"]) == 64


def test_services_that_refuse_faces_are_sent_words() -> None:
    for url, sends in (
        ("https://api.openai.com/v1", False),
        ("https://me.openai.azure.com/openai/v1", False),
        ("http://127.0.0.1:8000/v1", True),
    ):
        assert SystemSpec("it", "sora", {"base_url": url}).factory()().sends_faces() == sends  # type: ignore[attr-defined]


async def test_server_times_are_kept(adapters: Any, play: Any, services: Any) -> None:
    services.poll_hint_ms = "1"
    (exchange,) = await play(adapters["sora"], turns=1)
    assert exchange.detail["server"]["completed_at"] - exchange.detail["server"]["created_at"] == 42
    assert exchange.detail["server_s"] == 42


async def test_the_prompt_is_kept_in_the_ledger_from_the_submission_on(
    adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("poll", *[])
    services.pending = 10**6
    await play(adapters["sora"], turns=1, deadline_s=0.6)
    with Run(tmp_path / "out", write=False) as run:
        (job,) = run.open_jobs()
    assert "Question 1 of conversation 1, please?" in job.detail["prompt"]
    assert job.detail["prompt"] == sent(services)[0]["prompt"]
