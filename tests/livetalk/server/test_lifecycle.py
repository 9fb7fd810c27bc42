"""From loading to the end: conversations that expire, a full server, metrics, signals, restarts."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import signal
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ended_program import ENDS_S, Program
from live_kit import PATIENCE_S, Clip, Clock, LiveServer, ObedientThinker, raw_request, until
from livetalk.base.errors import CheckpointError
from livetalk.cli import main as cli
from livetalk.cli.version import version
from livetalk.render.options import BUNDLED
from livetalk.render.pipeline import Models
from livetalk.server.limits import Limits
from livetalk.thinkers.base import ThinkerError

from interbench.pipeline.conformance import check_system
from interbench.systems.registry import SystemSpec


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# -- loading -----------------------------------------------------------------------------------------------------------


def test_the_server_answers_while_it_loads(serve: Callable[..., LiveServer], models: Models) -> None:
    may_load = threading.Event()

    def load() -> Models:
        may_load.wait(PATIENCE_S)
        return models

    server = serve(load=load, ready=False)
    with server.client() as client:
        health = client.get("/health").json()
        assert (health["status"], health["video"], health["weights"], health["sessions"]) == ("loading", None, None, 0)
        refused = client.post("/v1/conversations")
        assert code(refused) == (503, "loading") and int(refused.headers["retry-after"]) > 0
        assert server.metric("livetalk_ready") == 0
        may_load.set()
        server.wait_until_ready()
        health = client.get("/health").json()
        assert health["random_weights"] is True and health["video"]["width"] == 64 and health["thinker"] == "script"
        assert server.metric("livetalk_ready") == 1
        server.open(client)


class AbsentThinker(ObedientThinker):
    async def start(self) -> None:
        raise ThinkerError("unreachable", "Nobody is there.")


@pytest.mark.parametrize("missing", ["models", "thinker"])
def test_a_server_that_cannot_load_says_so(serve: Callable[..., LiveServer], missing: str) -> None:
    def load() -> Models:
        raise CheckpointError("The file is not there.")

    broken: dict[str, object] = {"load": load} if missing == "models" else {"thinker": AbsentThinker()}
    server = serve(ready=False, **broken)
    with server.client() as client:
        assert until(lambda: client.get("/health").json()["status"] == "failed")
        assert code(client.post("/v1/conversations")) == (503, "loading")
    expected = "The file is not there." if missing == "models" else "Nobody is there."
    assert str(server.service.failure) == expected


def test_a_server_that_stops_while_it_loads(serve: Callable[..., LiveServer], models: Models) -> None:
    may_load = threading.Event()

    def load() -> Models:
        may_load.wait(PATIENCE_S)
        return models

    server = serve(load=load, ready=False)
    server.stop()
    may_load.set()
    with pytest.raises(httpx.ConnectError), server.client() as client:
        client.get("/health")


# -- admission and expiry ----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brief(serve: Callable[..., LiveServer], clock: Clock) -> LiveServer:
    """Two conversations at once, closed after a minute without a turn, or after ten."""
    return serve(clock=clock, limits=Limits(idle_s=60, age_s=600), live={"capacity": 2})


def test_a_full_server_refuses_and_recovers(brief: LiveServer, clock: Clock) -> None:
    with brief.client() as client:
        names = [brief.open(client), brief.open(client)]
        clock.now += 45
        refused = client.post("/v1/conversations", files={"image": ("a.png", b"not even looked at", "image/png")})
        assert code(refused) == (429, "full") and refused.headers["retry-after"] == "15"
        assert client.get("/health").json()["sessions"] == 2
        assert brief.metric("livetalk_conversations_open") == brief.metric("livetalk_conversations_capacity") == 2
        assert brief.metric("livetalk_requests_refused_total", code="full") == 1
        assert client.delete(f"/v1/conversations/{names[0]}").status_code == 204
        assert code(client.delete(f"/v1/conversations/{names[0]}")) == (404, "unknown_conversation")
        again = brief.open(client)
        assert again not in names
        assert brief.metric("livetalk_conversations_closed_total", reason="deleted") == 1
        assert brief.metric("livetalk_conversations_opened_total") == 3


def test_conversations_expire(brief: LiveServer, clock: Clock) -> None:
    with brief.client() as client:
        forgotten, alive = brief.open(client), brief.open(client)
        clock.now += 50
        assert client.post(f"/v1/conversations/{alive}/turns", data={"text": "Hello."}).status_code == 200
        assert client.get(f"/v1/conversations/{forgotten}").json()["expires_in_s"] == pytest.approx(10)
        assert client.get(f"/v1/conversations/{alive}").json()["expires_in_s"] == pytest.approx(60)
        clock.now += 10
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/turns"),
            ("POST", "/interrupt"),
            ("GET", "/turns/1"),
        ):
            assert code(client.request(method, f"/v1/conversations/{forgotten}{path}")) == (404, "expired")
        assert code(client.get("/v1/conversations/never-opened")) == (404, "unknown_conversation")
        assert client.get(f"/v1/conversations/{alive}").json()["turns"][0]["outcome"] == "completed"
        fresh = brief.open(client)  # takes the place
        assert client.get("/health").json()["sessions"] == 2
        assert brief.metric("livetalk_conversations_closed_total", reason="expired") == 1
        assert code(client.get(f"/v1/conversations/{forgotten}")) == (404, "expired")
        assert client.get(f"/v1/conversations/{fresh}").status_code == 200


def test_an_old_conversation_ends_after_its_turn(brief: LiveServer, clock: Clock) -> None:
    with brief.client() as client, brief.client() as other:
        name = brief.open(client)
        with client.stream("POST", f"/v1/conversations/{name}/turns", data={"text": "hold on"}) as response:
            pieces = response.iter_raw()
            content = next(pieces)
            clock.now += 1_000
            assert other.get(f"/v1/conversations/{name}/turns/1").json()["outcome"] == "running"
            late = other.post(f"/v1/conversations/{name}/turns", data={"text": "One more."})
            assert code(late) == (404, "expired")
            assert other.post(f"/v1/conversations/{name}/interrupt").json()["outcome"] == "interrupted"
            assert Clip(content + b"".join(pieces)).frames > 0
        assert until(
            lambda: code(client.post(f"/v1/conversations/{name}/turns", data={"text": "Hi."})) == (404, "expired")
        )


def test_nobody_needs_to_ask_for_a_conversation_to_expire(serve: Callable[..., LiveServer]) -> None:
    server = serve(limits=Limits(idle_s=0.2))
    with server.client() as client:
        name = server.open(client)
        assert until(lambda: client.get("/health").json()["sessions"] == 0)
        assert code(client.get(f"/v1/conversations/{name}")) == (404, "expired")


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_count_what_happened(serve: Callable[..., LiveServer]) -> None:
    server = serve()
    with server.client() as client:
        name = server.open(client)
        response = client.post(f"/v1/conversations/{name}/turns", data={"text": "Hello."})
        clip = Clip(response.content)
        client.post(f"/v1/conversations/{name}/turns", data={"text": "break broken"})
        client.post(f"/v1/conversations/{name}/turns", data={"text": "fail timed_out"})
        client.get("/v1/conversations/made-up-by-a-client")
        client.get("/address/made/up")
        raw_request(server.port, "This is no HTTP.\r\n\r\n")
        turns = client.get(f"/v1/conversations/{name}").json()["turns"]
        text = client.get("/metrics").text
    assert server.metric("livetalk_turns_total", outcome="completed") == 1
    assert server.metric("livetalk_turns_total", outcome="failed") == 1
    assert server.metric("livetalk_turns_total", outcome="timed_out") == 1
    assert server.metric("livetalk_time_to_first_frame_seconds_count") == 2
    assert server.metric("livetalk_frames_total") == sum(turn["frames"] for turn in turns) > clip.frames
    assert server.metric("livetalk_video_seconds_total") == pytest.approx(sum(turn["video_s"] for turn in turns))
    assert server.metric("livetalk_stream_bytes_total") > len(response.content)
    assert server.metric("livetalk_underruns_total") == sum(turn["underruns"] for turn in turns)
    assert server.metric("livetalk_real_time_factor_count") == 2
    for part in ("thinker_first_text", "thinker_first_sound", "first_window", "first_block", "first_fragment"):
        total = sum(turn["timings"][f"{part}_s"] or 0 for turn in turns)
        assert server.metric("livetalk_turn_part_seconds_sum", part=part) == pytest.approx(total)
    # From the last byte of the turn to the first fragment on its way: a little more than the session's own reckoning.
    own = server.metric("livetalk_turn_part_seconds_sum", part="first_fragment")
    assert server.metric("livetalk_time_to_first_frame_seconds_sum") > own
    assert server.metric("livetalk_build_info", version="test", size="tiny", thinker="script") == 1
    assert server.metric("process_resident_memory_bytes") > 2**20
    for code in ("timed_out", "unknown_conversation", "not_found", "malformed"):
        assert server.metric("livetalk_requests_refused_total", code=code) == 1
    assert "made-up" not in text and "/address" not in text and name not in text


def test_servers_count_apart(serve: Callable[..., LiveServer]) -> None:
    one, other = serve(), serve()
    with one.client() as client:
        one.open(client)
    assert one.metric("livetalk_conversations_opened_total") == 1
    assert other.metric("livetalk_conversations_opened_total") == 0


# -- as a process ------------------------------------------------------------------------------------------------------


class Process(Program):
    """`livetalk serve`, really; `before` runs ahead of it in its interpreter."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int = 0,
        environment: dict[str, str] | None = None,
        before: str = "",
        ignored: tuple[signal.Signals, ...] = (),
    ) -> None:
        self.announcement = folder.parent / "announced.json"
        super().__init__(
            [
                *("-c", f"{before}\nfrom livetalk.__main__ import main\nmain()"),
                *("serve", "--size", "tiny", "--port", str(port), "--announce", str(self.announcement), *options),
            ],
            folder,
            ignored=ignored,
            environment={"OMP_NUM_THREADS": "1", **(environment or {})},
        )

    def wait_until_ready(self) -> str:
        """The address."""
        self.wait_for(self.announcement.exists)
        announced = json.loads(self.announcement.read_text())
        assert announced["pid"] == self.process.pid
        url: str = announced["url"]
        with httpx.Client(base_url=url, trust_env=False, timeout=ENDS_S) as client:
            self.wait_for(lambda: client.get("/health").json()["status"] == "ready", every_s=0.2)
        return url

    def stop(self, number: signal.Signals) -> str:
        """Tell it to stop; what it printed."""
        self.signal(number)
        return self.stopped()

    def stopped(self) -> str:
        """It has been told to stop, and does so in good order; what it printed."""
        end = self.end()
        assert end.status == 0, end.errors
        assert end.errors.splitlines()[-1] == "livetalk: stopped."
        assert "Traceback" not in end.output + end.errors
        assert not self.announcement.exists()
        assert self.leaves_nothing(), self.left()
        return end.output + end.errors


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(*options: str, **settings: Any) -> Process:
        processes.append(Process(tmp_path / f"server-{len(processes)}", *options, **settings))
        return processes[-1]

    yield start
    for entry in processes:
        entry.kill()


def test_the_small_model_is_served_and_says_what_it_is(run: Callable[..., Process]) -> None:
    server = run("--size", "mini", "--no-token")
    url = server.wait_until_ready()
    health = httpx.get(f"{url}/health", trust_env=False, timeout=ENDS_S).json()
    assert (health["size"], health["random_weights"], health["video"]["width"]) == ("mini", False, 96)
    digest = hashlib.sha256((BUNDLED / "model.safetensors").read_bytes()).hexdigest()
    assert health["weights"] == f"mini, bundled with livetalk, sha256 {digest[:16]}"
    said = server.stop(signal.SIGTERM).splitlines()
    assert f"livetalk mini, thinker script, listens at {url}" in said
    (note,) = [line for line in said if line.startswith("mini is a small model")]
    assert "docs/training.md" in note and "`livetalk download`" in note


def test_a_restart_forgets_conversations_and_says_so_and_the_next_server_conforms(
    run: Callable[..., Process], tmp_path: Path
) -> None:
    script = tmp_path / "answers.txt"
    script.write_text("One two three four five six seven eight nine ten. " * 8 + "\n")
    token = "a-token-for-the-restart"
    first = run("--set", f"thinker.script={script}", environment={"LIVETALK_TOKEN": token})
    url = first.wait_until_ready()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=ENDS_S, trust_env=False) as client:
        name = client.post("/v1/conversations").json()["id"]
        with client.stream("POST", f"/v1/conversations/{name}/turns", data={"text": "Count."}) as response:
            pieces = response.iter_raw()
            content = next(pieces)
            first.signal(signal.SIGTERM)
            content += b"".join(pieces)  # ends as a stream should
        assert 0 < Clip(content).seconds < 30
    output = first.stopped()
    assert f"with random weights (the pictures mean nothing), thinker script, listens at {url}" in output
    assert token not in output

    # The port is free at once.
    told = "import gc\ngc.freeze = lambda: print('frozen', flush=True)"
    port = int(url.rpartition(":")[2])
    script.write_text("Yes, gladly.\n")
    second = run("--no-token", "--set", f"thinker.script={script}", port=port, before=told, ignored=(signal.SIGINT,))
    assert second.wait_until_ready() == url
    lost = httpx.get(f"{url}/v1/conversations/{name}", trust_env=False, timeout=ENDS_S)
    assert code(lost) == (404, "unknown_conversation") and "restarted" in lost.text

    # As the harness checks a system. A server in this process would take turns with the event loop that is checked.
    spec = SystemSpec("livetalk", "livetalk", {"url": url})
    findings = asyncio.run(check_system(spec, deadline_s=60.0, keep=tmp_path / "clips"))
    assert [finding.text for finding in findings if finding.level == "wrong"] == []
    output = second.stop(signal.SIGHUP)
    assert output.count("frozen") == 1, "the models are looked through by every garbage collection"


def test_a_source_tree_that_is_not_installed_knows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert version() == project["version"]


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        pytest.param("render.pipeline", "random_models", signal.SIGINT, id="load", marks=pytest.mark.soak),
        pytest.param("live.engine", "Engine._prepare", signal.SIGTERM, id="warm-up"),
    ],
)
def test_loading_and_warming_up_keep_no_server_from_stopping(
    run: Callable[..., Process], module: str, name: str, number: signal.Signals
) -> None:
    endless = (
        f"import torch, livetalk.{module}\n"
        "def endless(*_, **__):\n"
        "    print('at work', flush=True)\n"
        "    while True: torch.ones(200, 200) @ torch.ones(200, 200)\n"
        f"livetalk.{module}.{name} = endless"
    )
    server = run(before=endless)
    server.wait_for(lambda: "at work\n" in server.output, every_s=0.05)
    server.stop(number)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--size", "1.3B", "--device", "cpu", "--checkpoints", "/does/not/exist"), "livetalk download"),
        (("--host", "0.0.0.0"), "needs a token"),
        (("--host", "no.such.host.invalid", "--no-token"), "Nothing can be served"),
        (("--thinker", "chat"), "thinker.url=VALUE"),
        (("--set", "thinker.script=/does/not/exist"), "can't be read"),
        (("--encoder", "h266_magic"), "no video encoder"),
        (("--port", "{taken}"), "port {taken}"),
        (("--announce", "/does/not/exist/here.json"), "no such folder"),
        (("--no-token", "--token-file", "/does/not/exist"), "contradict"),
    ],
    ids=["checkpoints", "token", "host", "thinker", "script", "encoder", "port", "announcement", "contradiction"],
)
def test_what_cannot_be_served_ends_the_program_with_a_clear_message(
    server: LiveServer,
    options: tuple[str, ...],
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LIVETALK_TOKEN", raising=False)
    given = [option.format(taken=server.port) for option in options]
    monkeypatch.setattr(sys, "argv", ["livetalk", "serve", "--size", "tiny", "--port", "0", *given])
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    output = capsys.readouterr().err
    assert word.format(taken=server.port) in output and output.strip().splitlines()[-1].startswith("livetalk: ")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_no_address_is_taken_before_the_files_are_there(
    server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--size", "1.3B", "--device", "cpu", "--checkpoints", str(tmp_path), "--port", str(server.port)]
    monkeypatch.setattr(sys, "argv", ["livetalk", "serve", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == "", "it said that it listens"
    assert "model.safetensors is not there, nor are 4 more" in printed.err, "and not that the port is taken"
