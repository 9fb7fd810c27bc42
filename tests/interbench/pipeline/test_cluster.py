"""A run on a real Ray of two local nodes is the run of one process, also when one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cluster_kit
import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.errors import ClusterError
from interbench.base.progress import PlainProgress, Progress
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Outcome
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.placement.check import check_cluster
from interbench.pipeline.placement.connect import actor
from interbench.pipeline.placement.link import Link, Patience
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.renderer import Order, Renderer
from interbench.pipeline.placement.transfer import Way
from interbench.pipeline.placement.wishes import Wishes, wishes_of
from interbench.pipeline.run import Summary, execute, make_plan
from interbench.report.collect import collect_table, read_records
from interbench.report.scores_file import scores_csv
from interbench.report.tables import to_json
from interbench.store.run_folder import Run
from interbench.systems.events import Opening
from interbench.systems.registry import SystemSpec

pytest.importorskip(
    "ray", reason="NOT TESTED WITHOUT RAY: Ray has no package for this platform. pip install 'interbench[ray]'."
)

Systems = Mapping[str, Mapping[str, Any]]
PATIENCE = Patience(answer_s=60.0, health_s=0.2)


@pytest.fixture(scope="module")
def joined() -> Iterator[Any]:
    with cluster_kit.two_nodes() as cluster:
        import ray

        # Joined once: every run finds itself in it. Runs of their own processes join by themselves.
        ray.init(cluster.address, log_to_driver=False, configure_logging=False, namespace="tests")
        yield cluster


@pytest.fixture
def cluster(joined: Any) -> Any:
    """Two nodes, whatever the test before has killed."""
    if not running_raylet(joined.second):
        joined.second = joined.another()
    return joined


def play(
    root: Path,
    out: str,
    address: str | None,
    systems: Systems,
    *,
    delay_s: float = 0.0,
    scenarios: str = "",
    progress: Progress | None = None,
    **changes: Any,
) -> Summary:
    """Play; on a cluster with little patience, because nothing here is far away."""
    told = {
        "out": root / out,
        "scenarios": scenarios or str(root / "set"),
        "systems": tuple(systems),
        "system": {name.partition("=")[0]: dict(options) for name, options in systems.items()},
        "cluster": address,
        **changes,
    }
    settings = Settings.model_validate(told)
    wishes = wishes_of(settings)
    if wishes is not None:
        wishes = dataclasses.replace(wishes, patience=PATIENCE, delay_s=delay_s)
    progress = progress or PlainProgress()
    return asyncio.run(
        execute(make_plan(settings), transcriber=Given(), judge=Signals(), progress=progress, wishes=wishes)
    )


def exchanges(folder: Path) -> list[Exchange]:
    with Run(folder, write=False) as run:
        return sorted(run.exchanges(), key=lambda one: (one.system, one.scenario, one.turn))


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs/cluster.jsonl").read_text().splitlines()]


def beside(work: Callable[[], None], run: Callable[[], Any]) -> Any:
    """What ``run`` gives while ``work`` is done in a thread."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        return run()
    finally:
        thread.join()


def timeless(exchange: Exchange) -> dict[str, Any]:
    """Of an exchange what no clock and no place decides."""
    told = dataclasses.asdict(exchange)
    apart = ("measured_at", "node", "transport_s", "traceback")
    told["detail"] = {name: value for name, value in exchange.detail.items() if name not in apart}
    told["message"] = exchange.message.replace("/there/", "/here/")
    told["events"] = [(kind, note) for _, kind, note in exchange.events]
    timings = exchange.timings
    told["timings"] = None if timings is None else (timings.resumed, timings.no_speech, timings.resolution_s)
    return told


def scored(folder: Path) -> tuple[Any, str]:
    records = read_records(folder)
    shown = to_json(collect_table([records], replicates=50))
    for row in shown["systems"]:
        for name in ("fps", "latency_s", "first_speech_s"):
            row.pop(name, None)
    return shown["systems"], scores_csv([records])


def test_it_is_the_run_of_one_process(cluster: Any, tmp_path: Path) -> None:
    """The starter set. Files, streams, broken files, exceptions, and a service that is paid: outcomes, clips, scores,
    money. Every node tells how it stands."""
    said: list[str] = []

    class Heard(PlainProgress):
        def say(self, message: str) -> None:
            said.append(message)

    for out, address in (("here", None), ("there", cluster.address)):
        told: Systems = {
            "varied=cluster_kit:Varied": {},
            "paid=harness_kit:Jobs": {"log": str(tmp_path / f"{out}.log")},
        }
        play(tmp_path, out, address, told, concurrency=1, scenarios="starter", progress=Heard())
    here, there = (exchanges(tmp_path / out) for out in ("here", "there"))
    assert {one.outcome for one in here} == {Outcome.COMPLETED, Outcome.FAILED}
    assert list(map(timeless, there)) == list(map(timeless, here))
    assert scored(tmp_path / "there") == scored(tmp_path / "here")
    with Run(tmp_path / "here", write=False) as one, Run(tmp_path / "there", write=False) as other:
        assert sorted(map(str, one.spending())) == sorted(map(str, other.spending()))
    (placed,) = {one.detail.get("measured_at") for one in there if one.system == "varied" and one.completed}
    assert placed == "node"
    assert all("measured_at" not in one.detail for one in there if one.system == "paid")
    assert len({one.detail["node"] for one in there if "node" in one.detail}) == 2
    assert sorted((tmp_path / "there.log").read_text().splitlines()) == sorted(
        (tmp_path / "here.log").read_text().splitlines()
    )
    manifest = json.loads((tmp_path / "there/manifest.json").read_text())
    assert len(manifest["cluster"]["nodes"]) == 2
    assert manifest["cluster"]["versions"] == manifest["invocations"][-1]["versions"]
    assert manifest["cluster"]["at_the_head"] == ["paid"]
    assert any("Played from this machine and not on nodes" in line and ": paid." in line for line in said)
    ends = [re.fullmatch(r"(.+): varied 1 well, 0 live, (\d) done, 0 lost", line) for line in said]
    finished = {end[1]: int(end[2]) for end in ends if end}
    assert sorted(finished) == sorted(node["name"] for node in manifest["cluster"]["nodes"])
    assert sum(finished.values()) == 6 and all(finished.values())


@pytest.mark.soak
def test_the_starter_set_of_the_puppet_is_that_of_one_process(cluster: Any, tmp_path: Path) -> None:
    """A real avatar: the same clips, byte for byte, the same words, and so the same table."""
    for out, address in (("here", None), ("there", cluster.address)):
        play(tmp_path, out, address, {"puppet": {}}, scenarios="starter")
    here, there = (exchanges(tmp_path / out) for out in ("here", "there"))
    assert {one.outcome for one in here} == {Outcome.COMPLETED}
    assert list(map(timeless, there)) == list(map(timeless, here))
    assert [one.facts and one.facts.sha256 for one in there] == [one.facts and one.facts.sha256 for one in here]
    assert len({one.detail["node"] for one in there}) == 2
    assert scored(tmp_path / "there") == scored(tmp_path / "here")


JUDGED: dict[str, Any] = {
    "judge_servers": "2x0",
    "judge_server": {
        "model": "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "command": [sys.executable, str(cluster_kit.SUPPORT / "cluster_kit.py")],
        "extra": ["--seconds", "0.3"],
    },
    "judge_options": {"concurrency": 2, "patience": {"outage_s": 60.0}},
}


def test_a_renderer_and_a_judge_are_killed_and_nobody_is_the_worse_for_it(cluster: Any, tmp_path: Path) -> None:
    """A system that answers only when two processes are at it, and two servers that judge, behind a key. One process of
    each is killed at its work, and another takes its place."""
    harness_kit.write_set(tmp_path / "set", count=5, turns=2)
    meeting = tmp_path / "meeting"
    meeting.mkdir()

    def judging() -> bool:
        with Run(tmp_path / "run", write=False) as run:
            return any(run.verdicts(key) for key in run.identities("judge"))

    def kill() -> None:
        started = cluster_kit.wait_for(
            lambda: (meeting / "turns").exists() and (meeting / "turns").read_text().splitlines()[2:], "three turns"
        )
        os.kill(int(started[0].split()[0]), signal.SIGKILL)
        cluster_kit.wait_for(judging, "a verdict")
        os.kill(cluster_kit.judge_processes()[0], signal.SIGKILL)

    systems = {"meets=cluster_kit:Meets": {"folder": str(meeting), "pause_s": 0.2}}
    summary = beside(kill, lambda: play(tmp_path, "run", cluster.address, systems, concurrency=1, **JUDGED))
    assert not summary.stranded
    played = exchanges(tmp_path / "run")
    assert len(played) == 10
    assert {one.outcome for one in played} == {Outcome.COMPLETED}
    for scenario in {one.scenario for one in played}:
        halves = {one.detail["conversation"] for one in played if one.scenario == scenario}
        assert len(halves) == 1, "one conversation was put together from two"
    log = events(tmp_path / "run")
    assert sum(event["what"] == "lost" for event in log) == 1
    assert max(event["live"] for event in log) == 2
    begun = [event for event in log if event["what"] == "lease"][:2]
    assert len({event["renderer"] for event in begun}) == 2
    for event in log:
        # Before the loss and after it: whoever is well has work as long as somebody waits.
        if event["what"] == "lease" and event["waiting"]:
            assert not event["idle"], event
    assert dict(summary.missing) == {}
    with Run(tmp_path / "run", write=False) as run:
        (key,) = run.identities("judge")
        assert len({(v.scenario, v.dimension) for _, v in run.verdicts(key)}) == 45
    assert cluster_kit.judge_processes() == []
    assert list((tmp_path / "run/logs").glob("*judge-*.log"))


@pytest.mark.soak
def test_what_the_way_takes_is_in_no_latency(cluster: Any, tmp_path: Path) -> None:
    """Half a second is added to every answer of the node: the whole turn takes two of them, its latency none."""
    harness_kit.write_set(tmp_path / "set", count=1, turns=1)
    play(tmp_path, "run", cluster.address, {"varied=cluster_kit:Varied": {}}, delay_s=0.5, renderers=1)
    (one,) = exchanges(tmp_path / "run")
    assert one.timings is not None
    assert one.detail["transport_s"] >= 1.0
    assert one.timings.complete_s < one.detail["transport_s"]


async def test_fifty_openings_at_once_are_fifty_conversations(cluster: Any, tmp_path: Path) -> None:
    spec = SystemSpec("opens", "cluster_kit:Opens", {})
    link = Link(actor(Renderer, max_concurrency=1000), "here", PATIENCE)
    system = PlacedSystem(link, Order(spec, Way()), cluster_kit.Opens(), 60.0, 60.0)
    await system.start()
    persona = Persona.model_validate(harness_kit.PERSONA)

    async def opened(number: int) -> str:
        conversation = await system.open(persona)
        await conversation.prepare(Opening(f"scenario-{number}", None, number))
        told = ""
        folder = tmp_path / str(number)
        folder.mkdir()
        if number % 10 == 0:
            request = harness_kit_request(f"scenario-{number}", folder)
            async for event in conversation.respond(request):
                told = getattr(getattr(event, "event", event), "text", told)
        await conversation.close()
        return told

    said = await asyncio.gather(*map(opened, range(50)))
    assert [one for one in said if one] == [f"scenario-{n} scenario-{n}" for n in range(0, 50, 10)]
    assert (await link.ask("news"))["live"] == 0
    await system.stop()
    await link.end()


def harness_kit_request(scenario: str, folder: Path) -> Any:
    from interbench.systems.events import TurnRequest

    return TurnRequest(scenario, 1, "Well?", None, (), None, 0, folder, 60.0)


def test_a_killed_head_goes_on_and_pays_nothing_twice(cluster: Any, tmp_path: Path) -> None:
    """The whole program is killed, and the same settings go on."""
    harness_kit.write_set(tmp_path / "set", count=4, turns=2)
    (tmp_path / "meeting").mkdir()
    systems: Systems = {
        "meets=cluster_kit:Meets": {"folder": str(tmp_path / "meeting"), "count": 1, "pause_s": 0.2},
        "paid=harness_kit:Jobs": {"log": str(tmp_path / "paid.log")},
    }
    lines = [
        f"systems = {json.dumps(list(systems))}",
        f'scenarios = "{tmp_path / "set"}"',
        f'out = "{tmp_path / "run"}"',
    ]
    lines += ["renderers = 1", "concurrency = 1"]
    for name, options in systems.items():
        lines += [f"[system.{name.partition('=')[0]}]", *(f"{key} = {json.dumps(of)}" for key, of in options.items())]
    (tmp_path / "run.toml").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "interbench", "run", "--config", str(tmp_path / "run.toml"), "--quiet"]
    command += ["--cluster", cluster.address, "--transcriber", "given"]
    environment = {**os.environ, "PYTHONPATH": str(cluster_kit.SUPPORT)}

    def started() -> list[str]:
        turns = tmp_path / "meeting/turns"
        return turns.read_text().splitlines() if turns.exists() else []

    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        cluster_kit.wait_for(lambda: len(started()) >= 2 or process.poll() is not None, "a turn in flight")
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.kill()
        process.communicate()
    renderer = int(started()[0].split()[0])
    cluster_kit.wait_for(lambda: not cluster_kit.running(renderer), "the renderer to end with its head")
    assert not play(tmp_path, "run", cluster.address, systems, renderers=1, concurrency=1).stranded
    played = exchanges(tmp_path / "run")
    assert len(played) == 16
    assert {one.outcome for one in played if one.system == "meets"} == {Outcome.COMPLETED}
    sent = [line for line in (tmp_path / "paid.log").read_text().splitlines() if line.startswith("submit")]
    assert len(sent) == len(set(sent))


@pytest.mark.soak
def test_a_node_that_is_killed_is_not_waited_for(cluster: Any, tmp_path: Path) -> None:
    """All of a node at once: its raylet and whatever runs there."""
    harness_kit.write_set(tmp_path / "set", count=4, turns=2)
    meeting = tmp_path / "meeting"
    meeting.mkdir()

    def kill() -> None:
        cluster_kit.wait_for(lambda: len(list(meeting.glob("here-*"))) == 2, "turns on both nodes")
        cluster_kit.kill_node(cluster.second)

    systems = {"meets=cluster_kit:Meets": {"folder": str(meeting), "pause_s": 0.3}}
    summary = beside(kill, lambda: play(tmp_path, "run", cluster.address, systems))
    assert not summary.stranded
    played = exchanges(tmp_path / "run")
    assert len(played) == 8
    assert {one.outcome for one in played} == {Outcome.COMPLETED}
    assert any(event["what"] == "lost" for event in events(tmp_path / "run"))


async def test_a_cluster_is_checked(cluster: Any, tmp_path: Path) -> None:
    findings = await check_cluster(cluster.address, str(tmp_path), tmp_path)
    assert not [str(finding) for finding in findings if finding.level == "wrong"]
    assert any("a file came through" in finding.text for finding in findings)
    assert any("round trip" in finding.text for finding in findings)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ClusterError, match="absolute folder"):
        await check_cluster(cluster.address, "nowhere")


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["renderer", "judge", "raylet", "node", "head"])
@pytest.mark.parametrize("seed", range(8))
def test_kills_at_random_moments(cluster: Any, tmp_path: Path, victim: str, seed: int) -> None:
    """The ledger holds every turn once, nobody carries a node's failure, no conversation is of two halves."""
    harness_kit.write_set(tmp_path / "set", count=6, turns=3)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    chance = random.Random(seed)

    def log() -> list[str]:
        path = meeting / "turns"
        return path.read_text().splitlines() if path.exists() else []

    def kill() -> None:
        cluster_kit.wait_for(log, "a turn")
        time.sleep(chance.uniform(0, 3))
        if victim == "renderer":
            os.kill(int(chance.choice(log()).split()[0]), signal.SIGKILL)
        elif victim == "judge" and (judges := cluster_kit.judge_processes()):
            os.kill(chance.choice(judges), signal.SIGKILL)
        elif victim == "raylet":
            cluster.second.all_processes["raylet"][0].process.kill()
        elif victim == "node":
            cluster_kit.kill_node(cluster.second)

    systems: Systems = {
        "meets=cluster_kit:Meets": {"folder": str(meeting), "pause_s": 0.2, "count": 1},
        "paid=harness_kit:Jobs": {"log": str(tmp_path / "paid.log")},
    }
    if victim == "head":
        (tmp_path / "run.py").write_text(HEAD.format(systems=systems, root=str(tmp_path), address=cluster.address))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(cluster_kit.SUPPORT), str(HERE)])}
        for _ in range(3):
            process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], env=environment)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(5, 25))
            process.kill()
            process.wait()
        play(tmp_path, "run", cluster.address, systems, **JUDGED)
    else:
        with contextlib.suppress(ProcessLookupError):
            beside(kill, lambda: play(tmp_path, "run", cluster.address, systems, **JUDGED))
    played = exchanges(tmp_path / "run")
    assert len(played) == 36
    assert {one.outcome for one in played if one.system == "meets"} == {Outcome.COMPLETED}
    for scenario in {one.scenario for one in played}:
        own = [one for one in played if one.scenario == scenario and one.system == "meets"]
        assert len({one.detail["conversation"] for one in own}) == 1
    sent = [line for line in (tmp_path / "paid.log").read_text().splitlines() if line.startswith("submit")]
    assert len(sent) == len(set(sent))
    assert cluster_kit.judge_processes() == []


HERE = Path(__file__).parent
HEAD = """
import sys
from pathlib import Path
import test_cluster
test_cluster.play(Path({root!r}), "run", {address!r}, {systems!r}, **test_cluster.JUDGED)
"""


def running_raylet(node: Any) -> bool:
    return bool(node.all_processes.get("raylet")) and node.all_processes["raylet"][0].process.poll() is None


def test_wishes(tmp_path: Path) -> None:
    assert wishes_of(Settings()) is None
    assert wishes_of(Settings(cluster="auto")) == Wishes("auto", open_s=600.0)
