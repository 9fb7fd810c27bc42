"""Fetching clips: redirects, keys, damaged and oversized files. The clip is paid for, whatever becomes of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from video_services import Redirect, Spoil, Status, clip

from interbench.domain.records import Charge
from interbench.store.run_folder import Run
from interbench.systems.events import Failed
from interbench.systems.services.download import take_inline
from interbench.systems.services.mp4 import NotMp4Error, check_mp4
from interbench.systems.services.service_errors import Ended

FETCHING = ["sora", "veo-gemini", "omni", "heygen", "hedra"]
"""Veo by Vertex hands its clips out within its answers."""


@pytest.fixture(params=FETCHING)
def fetching(request: pytest.FixtureRequest, adapters: Any) -> Any:
    return adapters[request.param]


def charges(tmp_path: Path) -> list[str]:
    with Run(tmp_path / "out", write=False) as run:
        return [spend.charge.value for spend in run.spending()]


async def test_redirects_are_followed_without_the_key_to_another_host(fetching: Any, play: Any, services: Any) -> None:
    services.plan("download", Redirect(f"{services.elsewhere}/cdn/JOB.mp4"), Redirect(f"{services.url}/cdn/JOB.mp4"))
    (exchange,) = await play(fetching, turns=1)
    assert exchange.completed, exchange
    # Another host that saw the key would be a violation, which ends the test.
    assert [seen.path.split("/")[1] for seen in services.seen if seen.kind == "download"][-2:] == ["cdn", "cdn"]


@pytest.mark.parametrize("target", ["http://example.com/clip.mp4", "ftp://example.com/x", "file:///etc/passwd"])
async def test_only_https_is_followed(target: str, adapters: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.plan("download", Redirect(target))
    (exchange,) = await play(adapters["sora"], turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "download_refused")
    assert charges(tmp_path) == [Charge.SPENT.value]


async def test_endless_redirects_end(adapters: Any, play: Any, services: Any) -> None:
    services.plan("download", *[Redirect(f"{services.elsewhere}/cdn/JOB.mp4")] * 9)
    (exchange,) = await play(adapters["sora"], turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "download_refused")
    assert services.count("download") == 6


async def test_a_slow_disk_does_not_hold_the_other_conversations_up(
    adapter: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, loops, fsync = [], [], os.fsync

    def noted(descriptor: int) -> None:
        synced.append(threading.current_thread().name)
        with contextlib.suppress(RuntimeError):
            loops.append(asyncio.get_running_loop())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    (exchange,) = await play(adapter, turns=1)
    assert exchange.completed, exchange
    # The harness's own, when it takes the clip over, is on its own loop; the adapter's loop never waits for a disk.
    assert len(synced) == 2
    assert len(loops) == 1
    assert "interbench-system" not in synced


async def test_a_broken_download_is_tried_again(fetching: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.plan("download", Status(500), Spoil("truncated"), Spoil("short"), Status(429, "0"))
    (exchange,) = await play(fetching, turns=1)
    assert exchange.completed, exchange
    assert services.count("download") == 5
    assert services.count("submit") == 1
    assert charges(tmp_path) == [Charge.SPENT.value]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("truncated", "download_failed"),
        ("short", "download_truncated"),
        ("html", "download_not_mp4"),
        ("declared", "download_too_large"),
        ("endless", "download_too_large"),
    ],
)
async def test_what_is_no_clip_is_refused_and_still_paid_for(
    how: str, code: str, adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("download", *[Spoil(how)] * (8 if how in ("truncated", "short") else 1))
    (exchange,) = await play(adapters["sora"], turns=1, max_bytes=2_000_000)
    assert (exchange.outcome.value, exchange.code) == ("failed", code)
    assert exchange.cost_usd == pytest.approx(0.4)
    assert charges(tmp_path) == [Charge.SPENT.value]
    assert not list((tmp_path / "out").rglob("*.mp4*")), "nothing half is left behind"
    with Run(tmp_path / "out", write=True) as run:
        assert run.open_jobs()
        run.discard("it", "test-001")
    # It is fetched by a retry, without paying twice.
    (exchange,) = await play(adapters["sora"], turns=1)
    assert exchange.completed
    assert services.count("submit") == 1
    assert charges(tmp_path) == [Charge.SPENT.value]


async def test_a_clip_within_an_answer_is_held_to_the_limit(
    adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.pending = 0
    (exchange,) = await play(adapters["veo"], turns=1, max_bytes=1000)
    assert (exchange.outcome.value, exchange.code) == ("failed", "download_too_large")
    assert charges(tmp_path) == [Charge.SPENT.value]


async def test_an_answer_beyond_any_limit_is_not_read(adapters: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.plan("poll", Status(200, body={"filler": "x" * 200_000}))
    (exchange,) = await play(adapters["veo"], turns=1, max_bytes=1000)
    assert (exchange.outcome.value, exchange.code) == ("failed", "answer_too_large")
    assert charges(tmp_path) == [Charge.POSSIBLE.value]


async def test_inline_clips(tmp_path: Path) -> None:
    data = clip(3, (96, 160))
    output = tmp_path / "a.mp4"
    assert await take_inline(base64.b64encode(data).decode(), output) == pytest.approx(3.0, abs=0.1)
    assert output.read_bytes() == data
    for text, limit, code in (
        (base64.b64encode(data).decode(), 100, "download_too_large"),
        ("!!!", 100, "download_not_mp4"),
        (base64.b64encode(b"hello, this is no video").decode(), 100, "download_not_mp4"),
        (base64.b64encode(data[:-100]).decode(), 10**6, "download_truncated"),
    ):
        with pytest.raises(Ended) as ended:
            await take_inline(text, tmp_path / "b.mp4", limit)
        final = ended.value.final
        assert isinstance(final, Failed) and final.code == code and final.charged is True
    assert not output.with_name("b.mp4").exists()
    assert not output.with_name("b.mp4.part").exists()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_mp4"),
        (b"\0\0\0\x18ftyp", "truncated"),
        (b"\0\0\0\x10ftypmp42\0\0\0\0", "truncated"),
        (b"\0\0\0\x02ftypmp42\0\0\0\0", "not_mp4"),
        (b"RIFF....WAVEfmt ", "not_mp4"),
    ],
)
def test_boxes(data: bytes, code: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    with pytest.raises(NotMp4Error) as error:
        check_mp4(path)
    assert error.value.code == code
