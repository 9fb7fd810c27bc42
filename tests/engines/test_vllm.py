"""The judge against real vLLM serving a tiny random Qwen3-VL on the CPU."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from audit_kit import played_run
from judge_kit import conversation, write_clip

from interbench.audit.collect import collect
from interbench.audit.verdicts import Validity
from interbench.base.bundled import data_path
from interbench.base.errors import JudgeError
from interbench.base.remote import Secret
from interbench.domain.catalogue import bundled
from interbench.domain.dimensions import DIMENSION_KEYS, DIMENSIONS
from interbench.domain.records import ClipFacts, Detail, Missing, PlayedConversation, Speaking, Verdict
from interbench.judge.base import JudgeTask
from interbench.judge.vlm.client import Patience
from interbench.judge.vlm.interview import CallTotals, Interview
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.messages import make_case
from interbench.judge.vlm.rubrics import Prompts
from interbench.judge.vlm.serve import Servers
from interbench.judge.vlm.settings import JudgeSettings
from interbench.store.run_folder import Run

pytestmark = pytest.mark.vllm
TASKS = [JudgeTask(dimension.key) for dimension in DIMENSIONS]
Clips = list[tuple[Path, ClipFacts]]


class Address:
    """An address that leads to one server and then to another, as after a restart: connections do not outlive it."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._open: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lead_to(self, url: str) -> None:
        self._target = urlsplit(url)
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        self.lead_to(self._target.geturl())
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._open += [writer, there]

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(carry(reader, there), carry(there_reader, writer))


async def ask(
    url: str, played: PlayedConversation, tasks: Sequence[JudgeTask] = TASKS, **settings: Any
) -> tuple[list[Verdict], VLMJudge]:
    judge = VLMJudge([url], settings=JudgeSettings(**{"max_tokens": 16, **settings}))
    await judge.start()
    try:
        return [verdict async for verdict in judge.judge(played, tasks)], judge
    finally:
        await judge.stop()


async def test_every_dimension_over_one_prefix(dense: str, large: Clips) -> None:
    verdicts, judge = await ask(dense, conversation(large[:2]))
    assert {verdict.dimension for verdict in verdicts} == {task.dimension for task in TASKS}
    for verdict in verdicts:
        seen = [(video["frames"], video["pixels_per_frame"]) for video in verdict.evidence["videos"]]
        assert seen == [(32, 768 * 768)] * 2
        spans = [video["first_and_last_s"] for video in verdict.evidence["videos"]]
        assert spans == [[pytest.approx(0.0, abs=0.1), pytest.approx(1.9, abs=0.1)], [0.1, 3.9]]
    tokens = [verdict.evidence["tokens"] for verdict in verdicts]
    assert all(used["prompt"] > 2 * 9216 for used in tokens)
    computed = sum(used["prompt"] - used["cached"] for used in tokens)
    assert computed / sum(used["prompt"] for used in tokens) <= 0.15
    assert judge._connections[0].reads_files is True
    assert judge.label == "tiny-qwen3vl"
    summary = judge.summary()
    assert summary["prompt_tokens_computed"] + summary["prompt_tokens_reused"] == summary["prompt_tokens"]
    assert summary["remarks"] == []


async def test_portrait_and_details_stand_in_the_prefix_and_are_seen(dense: str, small: Clips, media: Path) -> None:
    path = media / "detail.mp4"
    detail = Detail(path, write_clip(path, 24, 8, 128, 128), ((0.0, 2.0), (2.5, 3.5)), 8)
    played = conversation(small[:2])
    first = replace(played.turns[0], details=(detail,), speaking=Speaking(0.2, 1.5, ((0.6, 1.1),)))
    portrait = data_path("scenarios") / "portraits" / "maya.png"
    played = replace(played, turns=(first, played.turns[1]), portrait=portrait)
    verdicts, judge = await ask(dense, played, sampling="dense", mode="observed+keypoints")
    assert judge.summary()["remarks"] == [] and len(verdicts) == len(TASKS)
    for verdict in verdicts:
        assert [(v["turn"], v["frames"]) for v in verdict.evidence["videos"]] == [(1, 20), (1, 24), (2, 32)]
        assert len(verdict.evidence["portrait"]["sha256"]) == 64 and verdict.evidence["rubric"]["version"] == 2
    tokens = [verdict.evidence["tokens"] for verdict in verdicts]
    # The rubric is what each computes for itself; blocks of 128 tokens on a CPU, prompts of a few thousand.
    rubrics = sum(used["prompt"] - used["cached"] for used in tokens[1:])
    assert rubrics < 0.6 * sum(used["prompt"] for used in tokens[1:])


async def test_the_published_reading_has_its_own_version(dense: str, small: Clips) -> None:
    verdicts, _ = await ask(dense, conversation(small[:1]), TASKS[:2], mode="published")
    assert all(
        verdict.evidence["rubric"] | {"sha256": ""} == {"mode": "published", "version": 1, "sha256": ""}
        for verdict in verdicts
    )


async def test_forced_boxes_and_the_probabilities_of_scores(dense: str, small: Clips) -> None:
    verdicts, _ = await ask(dense, conversation(small), TASKS[:4], force_box=True, expected_score=True)
    for verdict in verdicts:
        assert verdict.score in range(1, 11)
        probabilities = verdict.evidence["score_probabilities"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert all(0 < probabilities[str(score)] < 0.9 for score in range(1, 11))
        assert verdict.expected_score == pytest.approx(sum(int(s) * p for s, p in probabilities.items()), abs=1e-3)


async def test_random_answers_are_marked_not_scored(dense: str, small: Clips) -> None:
    verdicts, _ = await ask(dense, conversation(small))
    assert len(verdicts) == len(TASKS)
    for verdict in verdicts:
        assert verdict.missing in (
            Missing.UNPARSED,
            Missing.CUT_OFF,
            Missing.EMPTY,
            Missing.OUT_OF_SCALE,
            Missing.REFUSED,
        )
        assert verdict.reasons and verdict.evidence["answer"] is not None
        assert [video["frames"] for video in verdict.evidence["videos"]] == [20, 32, 32]
        assert [video["pixels_per_frame"] for video in verdict.evidence["videos"]] == [128 * 128, 160 * 96, 128 * 128]


async def test_seeds_repeat_and_differ(dense: str, small: Clips) -> None:
    tasks = [JudgeTask("LC", sample) for sample in range(3)]
    runs = []
    for _ in range(2):
        verdicts, _ = await ask(dense, conversation(small[:1]), tasks, repeats=3, temperature=1.0)
        runs.append({v.sample: (v.evidence["seed"], v.evidence["asked_again"]["first_answer"]) for v in verdicts})
    assert runs[0] == runs[1]
    assert len(set(runs[0].values())) == 3 and [runs[0][sample][0] for sample in range(3)] == [0, 1000, 2000]


async def test_videos_are_sent_again_to_an_engine_that_forgot_them(dense: str, small: Clips) -> None:
    settings = JudgeSettings(max_tokens=16)
    judge = VLMJudge([dense], settings=settings)
    await judge.start()
    prompts, totals = Prompts(settings.mode), CallTotals()
    case = make_case(conversation(small), prompts, settings.view)
    interview = Interview(case, "s", "c", judge._connections[0], settings, prompts, Secret(None), totals)
    first = await interview.verdict(JudgeTask("EA"), lambda: None)
    named = await interview.verdict(JudgeTask("NI"))
    assert totals.videos_resent == 0
    assert await judge.forget(), "vLLM in its development mode empties its caches"
    again = await interview.verdict(JudgeTask("MVC"))
    await judge.stop()
    assert totals.videos_resent == 3
    assert not any(verdict.retryable for verdict in (first, named, again))
    assert named.evidence["videos"] == again.evidence["videos"]


async def test_clips_the_engine_may_not_read_travel_as_data(dense: str, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.mp4"
    played = conversation([(path, write_clip(path, 40, 20, 128, 128))])
    verdicts, judge = await ask(dense, played, TASKS[:3])
    assert judge._connections[0].reads_files is False
    assert all(verdict.evidence["videos"][0]["frames"] == 32 for verdict in verdicts)


async def test_a_conversation_beyond_the_context_is_named_with_its_tokens(dense: str, large: Clips) -> None:
    verdicts, _ = await ask(dense, conversation(large, scenario="too-long"))
    assert {verdict.missing for verdict in verdicts} == {Missing.CONTEXT_OVERFLOW}
    reason = verdicts[0].reasons
    tokens = int(reason.split(" has ")[1].split(" tokens")[0].replace(",", ""))
    assert 3 * 9216 < tokens < 3 * 9216 + 4000
    assert "too-long" in reason and "24,576 tokens" in reason and "--max-model-len" in reason


@pytest.mark.parametrize(
    ("settings", "said"), [({"frames": 16}, "32 frames instead of 16"), ({"size": 512}, "instead of")]
)
async def test_an_engine_set_otherwise_stops_the_run(dense: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(JudgeError, match=said):
        await VLMJudge([dense], settings=JudgeSettings(**settings)).start()


async def test_a_file_that_is_no_video_is_missing_not_fatal(dense: str, media: Path, small: Clips) -> None:
    broken = media / "broken.mp4"
    broken.write_bytes(b"this is not a video")
    played = conversation([small[0], (broken, small[1][1])])
    verdicts, _ = await ask(dense, played, TASKS[:2], patience=Patience(attempts=2, first_wait_s=0.01))
    assert {verdict.missing for verdict in verdicts} <= {Missing.REQUEST_REJECTED, Missing.SERVER_ERROR}


def test_a_run_of_the_puppet_scores_or_honestly_marks_every_verdict(dense: str, media: Path, tmp_path: Path) -> None:
    """From the command line, as a user would: clips that the server reads from the run folder, a table at the end."""
    settings = tmp_path / "run.toml"
    settings.write_text("[judge_options]\nmax_tokens = 32\n")
    folder = media / "run"
    argv = [sys.executable, "-m", "interbench", "run", "--systems", "puppet,puppet:drift", "--judge", dense]
    argv += ["--scenarios", "all", "--only", "places-longest-river", "--transcriber", "given"]
    argv += ["--out", str(folder), "--config", str(settings)]
    done = subprocess.run(argv, capture_output=True, text=True)
    with Run(folder, write=False) as run:
        ((key, (label, _)),) = run.identities("judge").items()
        verdicts = [verdict for _, verdict in run.verdicts(key)]
        clips = {exchange.facts.sha256 for exchange in run.exchanges() if exchange.facts is not None}
    # Random weights may score nothing at all, which is said by the exit status.
    assert done.returncode == (0 if any(verdict.score is not None for verdict in verdicts) else 4), done.stderr
    assert label == "tiny-qwen3vl" and len(clips) == 3  # both begin with the same one
    assert len({(verdict.system, verdict.dimension) for verdict in verdicts}) == len(verdicts) == 2 * len(TASKS)
    for verdict in verdicts:
        assert (verdict.score is None) != (verdict.missing is None)
        assert not verdict.retryable, verdict
        videos = verdict.evidence["videos"]
        assert [(video["frames"], video["pixels_per_frame"]) for video in videos] == [(32, 512 * 512)] * 2
        assert {video["sha256"] for video in videos} <= clips
    assert "of them from the server's cache" in done.stderr and "Coverage" in done.stdout
    assert (folder / "report" / "index.html").exists()


def held_verdicts(ledger: Path) -> dict[tuple[Any, ...], str]:
    """Verdicts in the ledger, by what they are of."""
    if not ledger.exists():
        return {}
    with sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=30) as db:
        try:
            found = db.execute("SELECT system, scenario, dimension, sample, record FROM verdicts").fetchall()
        except sqlite3.OperationalError:
            return {}
    return {row[:4]: row[4] for row in found}


@pytest.mark.parametrize("scenarios", [1, pytest.param(6, marks=pytest.mark.soak)])
def test_a_random_judge_does_not_pass_its_audit_and_a_kill_costs_nothing(
    dense: str, media: Path, scenarios: int
) -> None:
    """An audit from the command line, the whole way, with a kill in the middle."""
    clips = [media / f"audit{number}.mp4" for number in range(2)]
    for number, clip in enumerate(clips):
        write_clip(clip, 20, 10, 128, 128, shade=60 + 90 * number)
    ids = ("science-blue-sky", "places-eiffel-tower", "howto-bike-puncture", "memory-dinner-guests",
           "memory-twenty-questions", "service-hotel-lost-booking")[:scenarios]  # fmt: skip
    run, out = media / f"run{scenarios}", media / f"audit{scenarios}"
    asyncio.run(played_run(run, clips, scenarios=ids, systems=("puppet",)))
    command = [sys.executable, "-m", "interbench", "audit", str(run), "--judge", dense, "--out", str(out), "--quick"]
    command += ["--scenarios", str(scenarios), "--only", "IC", "--system", "puppet", "-q"]
    command += ["--set", "judge.max_tokens=16", "--set", "judge.force_box=true", "--set", "judge.media=file"]

    ledger = out / "ledger.sqlite"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while len(held_verdicts(ledger)) < 20 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    _, said = first.communicate()
    assert first.returncode == -signal.SIGKILL, said.decode()[-2000:]
    before = held_verdicts(ledger)
    assert len(before) >= 20

    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    after = held_verdicts(ledger)
    assert all(after[key] == record for key, record in before.items()), "nothing is judged twice"
    assert len(after) > len(before)

    result = collect(out, bundled())
    assert result.coverage[1] == len(after)
    assert {of.key for of in result.matrix.dimensions} == set(DIMENSION_KEYS)
    assert Validity.PASS not in {of.validity for of in result.matrix.dimensions}
    # The judge is told the same of a conversation whatever its system is called.
    assert result.blinding.by == "messages" and result.blinding.compared > 0 and result.blinding.different == 0
    assert json.loads((out / "audit.json").read_text())["judge"]["label"] == "tiny-qwen3vl"
    assert "qwen" in result.family.judge and "not testable with one judge" in result.family.says
    required = subprocess.run([*command[:4], str(out), "--report", "--require", "IC"], capture_output=True, text=True)
    assert required.returncode == 3 and "IC" in required.stderr


async def test_mixture_of_experts_killed_in_mid_run_and_restarted(engines: dict[str, Servers], small: Clips) -> None:
    """All verdicts of one conversation, although the engine is killed after the third and comes back empty."""
    servers = engines["moe"]
    servers.wait_healthy(900)
    history: list[str] = []

    async def sleep(seconds: float) -> None:
        # The judge waits because it can't reach the server: the moment to start it again.
        if history == ["killed"]:
            history.append("restarted")
            engines["moe"] = Servers(servers.plans, servers.logs).__enter__()
            engines["moe"].wait_healthy(900)

    settings = JudgeSettings(max_tokens=16, concurrency=1, force_box=True)
    judge = VLMJudge([servers.plans[0].url], settings=settings, sleep=sleep)
    verdicts = []
    try:
        await judge.start()
        assert judge.label == "tiny-qwen3vl"
        async for verdict in judge.judge(conversation(small), TASKS):
            verdicts.append(verdict)
            if len(verdicts) == 3:
                history.append("killed")
                servers.__exit__(None, None, None)
    finally:
        await judge.stop()
    assert history == ["killed", "restarted"]
    assert [verdict.score in range(1, 11) for verdict in verdicts] == [True] * len(TASKS)
    assert judge.summary()["retries"] >= 1 and judge.summary()["videos_resent"] == 3
    assert json.dumps([verdict.evidence for verdict in verdicts])


async def test_an_engine_replaced_in_mid_run_by_one_of_the_same_name_stops_the_run(
    dense: str, engines: dict[str, Servers], small: Clips
) -> None:
    """Same address, name, path and context, other weights: no verdict of the second is accepted."""
    engines["moe"].wait_healthy(900)
    async with Address(dense) as address:
        judge = VLMJudge([address.url], settings=JudgeSettings(max_tokens=16, concurrency=2, force_box=True))
        await judge.start()
        given = []
        try:
            with pytest.raises(JudgeError, match=r"no longer the one that began .*log-probabilities"):
                async for verdict in judge.judge(conversation(small), TASKS):
                    given.append(verdict)
                    if len(given) == 3:
                        address.lead_to(engines["moe"].plans[0].url)
        finally:
            await judge.stop()
    # What the first engine had answered before may still have been on its way.
    assert 3 <= len(given) <= 5
    assert all(verdict.score in range(1, 11) for verdict in given)
