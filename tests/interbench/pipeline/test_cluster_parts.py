"""What a run on a cluster is made of, one by one and without one: ways of clips, logs, mounts, addresses, wishes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster_kit
import harness_kit
import pytest
from s3_stub import S3Stub

from interbench.base.errors import (
    ClusterError,
    NodeLostError,
    StoreError,
    StrandedError,
    SystemLoadError,
    UsageError,
)
from interbench.domain.persona import Persona
from interbench.domain.records import Charge, Exchange
from interbench.drive.driver import Driver, DriveSettings
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.placement.connect import check_address, differences
from interbench.pipeline.placement.event_log import EventLog
from interbench.pipeline.placement.fleet import Fleet, Makers, Seat
from interbench.pipeline.placement.link import Link, Patience
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.renderer import Order, Renderer
from interbench.pipeline.placement.server_log import MOST, KeptLog, LogTail
from interbench.pipeline.placement.standing import Standing
from interbench.pipeline.placement.transfer import Handed, NoRoomError, Way, hand_over, parse_way, sweep, take
from interbench.pipeline.placement.wishes import parse_servers, wishes_of
from interbench.scenarios.plan import plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.mounts import mount_of, require_local
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem
from interbench.systems.events import Elsewhere, Opening, TurnRequest
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

DATA = bytes(range(256)) * 40


def handed(way: Way, source: Path) -> Handed:
    return Handed(source.name, len(DATA), hashlib.sha256(DATA).hexdigest(), key=way.name(".mp4"))


async def none(offset: int) -> bytes:
    raise AssertionError("nothing comes in pieces here")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    return path


# -- how clips come --------------------------------------------------------------------------------------------------


async def test_in_pieces(source: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    async def read(offset: int) -> bytes:
        asked.append(offset)
        return DATA[offset : offset + 4000]

    clip = handed(Way(), source)
    await take(Way(), clip, tmp_path / "here", read, 1.0)
    assert (tmp_path / "here").read_bytes() == DATA
    assert asked == [0, 4000, 8000]

    async def less(offset: int) -> bytes:
        return b"" if offset else DATA[:100]

    with pytest.raises(NodeLostError, match="100 bytes instead of 10240"):
        await take(Way(), clip, tmp_path / "half", less, 1.0)


async def test_through_a_folder_whose_files_are_seen_late(source: Path, tmp_path: Path) -> None:
    """What a node writes appears at the head, half at first, after the head has begun to look."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    clip = handed(way := Way("folder", str(here), "interbench-x-"), source)
    hand_over(Way("folder", str(there), way.prefix), source, clip.key)
    assert [path.name for path in there.iterdir()] == [clip.key], "the part under way was left behind"
    looked = threading.Event()

    def appear() -> None:
        looked.wait()
        (here / clip.key).write_bytes(DATA[:500])
        time.sleep(0.1)
        shutil.copyfile(there / clip.key, here / clip.key)

    thread = threading.Thread(target=appear)
    thread.start()
    task = asyncio.create_task(take(way, clip, tmp_path / "clip", none, 60.0))
    await asyncio.sleep(0.05)
    looked.set()
    await task
    thread.join()
    assert (tmp_path / "clip").read_bytes() == DATA
    assert list(here.iterdir()) == []
    with pytest.raises(NodeLostError, match="not seen there after"):
        await take(way, clip, tmp_path / "clip", none, 0.05)
    (here / clip.key).write_bytes(bytes(len(DATA)))
    with pytest.raises(NodeLostError, match="did not arrive as its node had it"):
        await take(way, clip, tmp_path / "clip", none, 1.0)


async def test_through_an_object_store(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client of S3 against a stand-in: keys come from the client's own configuration and travel in calls."""
    pytest.importorskip("s3fs", reason="NOT TESTED WITHOUT S3FS: the client of S3 is not installed. pip install s3fs.")
    with S3Stub() as store:
        import fsspec

        options = {"key": "id", "secret": "open sesame", "endpoint_url": store.url}
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        way = parse_way("s3://bucket/clips/", "0123456789abcdef")
        assert (way.kind, way.root, way.prefix) == ("store", "s3://bucket/clips", "interbench-0123456789ab-")
        assert "sesame" not in repr(way)
        clip = handed(way, source)
        await asyncio.to_thread(hand_over, way, source, clip.key)
        assert store.objects == {f"bucket/clips/{clip.key}": DATA}
        store.unseen = 2
        await take(way, clip, tmp_path / "clip", none, 60.0)
        assert (tmp_path / "clip").read_bytes() == DATA
        assert store.objects == {}
        await asyncio.to_thread(hand_over, way, source, clip.key)
        store.objects["bucket/clips/interbench-another-1.mp4"] = b"?"
        assert await asyncio.to_thread(sweep, way) == 1
        assert list(store.objects) == ["bucket/clips/interbench-another-1.mp4"]
        with pytest.raises(NodeLostError, match="can't be brought here through s3://bucket"):
            await take(way, clip, tmp_path / "clip", none, 0.1)


def test_what_was_never_taken_is_removed(source: Path, tmp_path: Path) -> None:
    way = Way("folder", str(tmp_path), "interbench-x-")
    hand_over(way, source, way.name(".mp4"))
    (tmp_path / "interbench-y-1.mp4").write_bytes(b"another run's")
    assert sweep(way) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "interbench-y-1.mp4"]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a small disk can't be mounted here ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_on_either_side(source: Path, tmp_path: Path) -> None:
    """Of the folder between: the node is at fault and its work goes elsewhere. Of the head: the run stops."""
    with small_disk(tmp_path / "disk") as disk:
        way = Way("folder", str(disk), "interbench-x-")
        with pytest.raises(NoRoomError):
            hand_over(way, source, way.name(".mp4"))
        assert list(disk.iterdir()) == []
        (tmp_path / "shared").mkdir()
        way = Way("folder", str(tmp_path / "shared"), "interbench-x-")
        clip = handed(way, source)
        hand_over(way, source, clip.key)
        with pytest.raises(StoreError, match=r"disk .* is full.*same command"):
            await take(way, clip, disk / "clip", none, 1.0)


def test_ways_that_are_none(tmp_path: Path) -> None:
    assert parse_way(None, "0" * 32).kind == "chunks"
    assert parse_way(str(tmp_path), "0" * 32).kind == "folder"
    for text, why in (("clips", "absolute folder"), (str(tmp_path / "no"), "absolute"), ("nope://x/y", "nope")):
        with pytest.raises(ClusterError, match=why):
            parse_way(text, "0" * 32)


# -- logs ------------------------------------------------------------------------------------------------------------


def test_a_server_s_log_is_read_on_and_kept_within_bounds(tmp_path: Path) -> None:
    log, tail = tmp_path / "server.log", LogTail()
    assert tail.read(None) == b""
    assert tail.read(log) == b""
    with log.open("ab") as server:
        server.write(b"one\n")
        server.flush()
        assert tail.read(log) == b"one\n"
        server.truncate(MOST + 5)
        read = 4
        while piece := tail.read(log):
            read += len(piece)
        assert read == MOST + 5
        assert log.stat().st_size == 0, "all of it has been read, and it is too long to be kept"
        server.write(b"two\n")
        server.flush()
        assert tail.read(log) == b"two\n"
    kept = KeptLog(tmp_path / "logs" / "b.log", most=10)
    for line in (b"123456\n", b"", b"7890\n", b"abc\n"):
        kept.write(line)
    assert (tmp_path / "logs" / "b.log.1").read_bytes() == b"123456\n"
    assert (tmp_path / "logs" / "b.log").read_bytes() == b"7890\nabc\n"


# -- the ledger's disk -----------------------------------------------------------------------------------------------

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw shared:1 - nfs4 files:/home rw,vers=4.2
31 30 0:41 / /home/me/local\040disk rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/lake rw - fuse.gcsfuse lake rw
33 22 0:43 / /mnt/box rw - fuse.fuse-overlayfs box rw
34 22 0:44 / /scratch rw - lustre mds@tcp:/scratch rw
"""


@pytest.mark.parametrize(
    ("folder", "point"),
    [
        ("/home/me/runs", "/home"),
        ("/mnt/lake/runs/x", "/mnt/lake"),
        ("/scratch", "/scratch"),
        ("/home/me/local disk/runs", None),
        ("/mnt/box/runs", None),
        ("/var/runs", None),
        ("/homes/runs", None),
    ],
)
def test_a_ledger_stays_off_the_network(folder: str, point: str | None, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    if point is None:
        require_local(Path(folder), mounts)
    else:
        with pytest.raises(StoreError, match=rf"lies on {point}, a network file system"):
            require_local(Path(folder), mounts)
    assert mount_of(Path(folder), tmp_path / "none") is None


# -- what is asked for -----------------------------------------------------------------------------------------------


def test_addresses() -> None:
    for text in ("auto", "head:6379", "10.0.0.1:6379", "[::1]:6379", " auto "):
        assert check_address(text) == text.strip()
    with pytest.raises(ClusterError, match=r"Ray Client.*second journey"):
        check_address("ray://head:10001")
    for text in ("head", "http://head:6379", "head:", "", "a b:1"):
        with pytest.raises(ClusterError, match="HOST:PORT"):
            check_address(text)


def test_numbers_of_servers() -> None:
    assert parse_servers("4", 1.0) == (4, 1.0)
    assert parse_servers("2x0.5", 0.0) == (2, 0.5)
    for text in ("x", "4x", "-1", "4 x 1", "4x1x1"):
        with pytest.raises(ClusterError, match="4x1"):
            parse_servers(text, 1.0)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"clips_via": "/mnt"}, "--clips-via is about a cluster"),
        ({"judge_servers": "2"}, "--judge-servers is about a cluster"),
        ({"cluster": "auto", "judge_servers": "2x0.5"}, "whole GPUs"),
        ({"cluster": "auto", "judge_servers": "0"}, "whole GPUs"),
        ({"cluster": "auto", "judge_servers": "2", "judge": "http://a:1"}, "one or the other"),
        ({"cluster": "ray://x:1"}, "Ray Client"),
    ],
)
def test_wishes_that_make_no_sense(told: dict[str, Any], why: str) -> None:
    with pytest.raises((ClusterError, UsageError), match=why):
        wishes_of(Settings.model_validate(told))


def test_versions_that_differ_are_named() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "c": "3"}) == [
        "b is not installed there and 2 here",
        "c is 3 there and not installed here",
    ]


# -- a renderer, without a machine in between


class Near(Link):
    """To a renderer of this process; ``lost`` says before which call it is, or that it is before ``all``."""

    def __init__(self, renderer: Renderer) -> None:
        super().__init__(renderer, "near", Patience(pull_s=0.5))
        self.asked: list[str] = []
        self.lost = ""

    async def ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
        self.asked.append(method)
        if self.lost in (method, "all"):
            raise NodeLostError("The node near is lost.")
        return await getattr(self.actor, method)(*arguments)

    async def end(self) -> None:
        """There is no process to end."""


async def placed(spec: str, options: dict[str, Any]) -> tuple[Near, PlacedSystem]:
    link = Near(Renderer())
    found = SystemSpec("it", spec, options)
    system = PlacedSystem(link, Order(found, Way()), found.factory()(), 60.0, 60.0)
    await system.start()
    return link, system


async def test_money_is_set_aside_before_a_node_sends_anything(tmp_path: Path) -> None:
    """The node tells of the request, and sends it only when it is asked what came next."""
    _, system = await placed("cluster_kit:Announces", {"folder": str(tmp_path)})
    conversation = await system.open(Persona.model_validate(harness_kit.PERSONA))
    await conversation.prepare(Opening("s", None, 0))
    (tmp_path / "work").mkdir()
    request = TurnRequest("s", 1, "Well?", None, (), None, 0, tmp_path / "work", 60.0)
    sent = tmp_path / "sent"
    seen = []
    facts = None
    async for event in conversation.respond(request):
        assert isinstance(event, Elsewhere)
        facts = event.facts
        seen.append((type(event.event).__name__, event.after_s))
        # However long the head takes with it.
        await asyncio.sleep(1.0 if len(seen) == 1 else 0.0)
        assert sent.exists() == (len(seen) > 1)
    assert [name for name, _ in seen] == ["Submitting", "Submitted", "Completed"]
    assert facts is not None
    assert seen[1][1] - seen[0][1] < 1.0, "what the head took is nobody's latency"
    await conversation.close()
    await system.stop()


async def test_a_lost_node_is_no_outcome(tmp_path: Path) -> None:
    """Nothing is recorded of the turn, and what the conversation has is kept or played again as the driver decides."""
    calls = ("open", "ready", "begin", "pull")
    harness_kit.write_set(tmp_path / "set", count=len(calls), turns=2)
    link, system = await placed("cluster_kit:Varied", {"kind": 1})
    scenarios = load_set(str(tmp_path / "set"))
    with Run(tmp_path / "run", write=True) as run:
        async with MediaPool() as media:
            host = Host(lambda: system)
            await host.start()
            driver = Driver("it", host, run, media, DriveSettings())
            for call, part in zip(calls, plan_scenarios(scenarios, scenarios), strict=True):
                run.record_planned(part)
                link.lost = call
                with pytest.raises(NodeLostError):
                    async for _ in driver.play(part):
                        pass
                assert run.exchanges("it", part.scenario.id) == []
                link.lost = ""
                played = [one async for one in driver.play(part)]
                assert [one.outcome.value for one in played] == ["completed", "completed"], call
                assert [one.detail["node"] for one in played] == ["near", "near"]
            await host.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what changes are states, and nobody is told of them
        await asyncio.sleep(0.01)


async def test_a_node_that_can_start_nothing_any_more_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    """A system that can't be started anywhere ends the run; one that others run is no reason to."""
    starts = tmp_path / "starts"
    starts.mkdir()
    like, spec = (
        cluster_kit.StartsOnce(str(starts)),
        SystemSpec("it", "cluster_kit:StartsOnce", {"folder": str(starts)}),
    )
    said: list[str] = []
    log = EventLog(tmp_path / "logs" / "cluster.jsonl")

    async def link(seat: Seat) -> Link:
        near = Near(Renderer())
        near.where, near.patience = f"node-{seat.number}", patience
        return near

    def admit(seat: Seat, system: PlacedSystem) -> None:
        seat.player = system.link

    patience, standing = Patience(health_s=0.01, again_s=0.01), Standing()
    makers = Makers(link, lambda link: Host(lambda: PlacedSystem(link, Order(spec, Way()), like, 60.0, 60.0)), admit)

    def fleet(count: int) -> Fleet:
        return Fleet("it", count, 1, makers, patience, log, standing, said.append)

    with pytest.raises(SystemLoadError, match=r"can't be started on the node node-0: RuntimeError: no CUDA device"):
        await fleet(1).start()
    (starts / "1").touch()
    (starts / "2").touch()
    two = fleet(2)
    await two.start()
    await until(lambda: [seat.state for seat in two.seats] == ["well", "well"])
    with pytest.raises(NodeLostError):
        async with two.seat("s", 3):
            two.seats[0].player.lost = "all"
            raise NodeLostError("The node is lost.")
    await until(lambda: two.seats[0].state == "given_up")
    assert "no CUDA device" in said[-1] and "is given up" in said[-1]
    async with two.seat("s", 3) as seat:
        assert seat.number == 1
        assert standing.lines()["node-1"] == "node-1: it 1 well, 1 live, 0 done, 0 lost"
    assert standing.lines()["node-0"] == "node-0: it 0 well, 0 live, 0 done, 1 lost"
    two.seats[1].player.lost = "all"
    with pytest.raises(StrandedError, match="No renderer of it is left"):
        while True:
            async with two.seat("s", 3):
                await asyncio.sleep(0.01)
    await two.stop()
    log.close()


async def test_a_turn_in_flight_learns_of_a_loss_that_others_noticed(tmp_path: Path) -> None:
    """Whoever looks after a renderer is done with it while a conversation waits for its answer: that is a loss, too."""
    harness_kit.write_set(tmp_path / "set", count=1, turns=2)
    link, system = await placed("cluster_kit:Varied", {})
    asked = threading.Event()

    class Hangs(Near):
        async def ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
            if method == "pull" and self.asked.count("begin") == 2:
                asked.set()
                await asyncio.Event().wait()
            return await super().ask(method, *arguments, takes_s=takes_s)

    link.__class__ = Hangs
    scenarios = load_set(str(tmp_path / "set"))
    (part,) = plan_scenarios(scenarios, scenarios)
    with Run(tmp_path / "run", write=True) as run:
        run.record_planned(part)
        async with MediaPool() as media:
            host = Host(lambda: system)
            await host.start()
            driver = Driver("it", host, run, media, DriveSettings())

            async def play() -> None:
                async for _ in driver.play(part):
                    pass

            playing = asyncio.create_task(play())
            await asyncio.to_thread(asked.wait)
            await host.abandon(lambda: NodeLostError("The renderer is lost."))
            with pytest.raises(NodeLostError, match=r"The renderer is lost\."):
                await playing
            for again in (play(), host.call(system.stop)):
                with pytest.raises(NodeLostError):
                    await again
        assert [one.turn for one in run.exchanges()] == [1]


async def test_an_unasked_request_is_never_sent_again(tmp_path: Path) -> None:
    """A system that says nothing of money announces a request, and its node is lost before anybody knows more."""
    harness_kit.write_set(tmp_path / "set", count=1, turns=1)
    (tmp_path / "sent").touch()
    link, system = await placed("cluster_kit:Announces", {"folder": str(tmp_path)})

    class LostAfterwards(Near):
        async def ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
            answer = await super().ask(method, *arguments, takes_s=takes_s)
            if method == "pull" and (tmp_path / "sent").read_text():
                raise NodeLostError("The node near is lost.")
            return answer

    link.__class__ = LostAfterwards
    scenarios = load_set(str(tmp_path / "set"))
    (part,) = plan_scenarios(scenarios, scenarios)
    with Run(tmp_path / "run", write=True) as run:
        run.record_planned(part)
        async with MediaPool() as media:
            host = Host(lambda: system)
            await host.start()
            driver = Driver("it", host, run, media, DriveSettings())
            with pytest.raises(NodeLostError):
                async for _ in driver.play(part):
                    pass
            link.__class__ = Near
            assert [one async for one in driver.play(part)] == []
            await host.stop()
        (exchange,) = run.exchanges()
        (spend,) = run.spending()
    assert exchange.code == "unknown_submission"
    assert spend.charge is Charge.POSSIBLE
    assert (tmp_path / "sent").read_text() == "test-001/1\n"


async def test_what_is_told_in_real_time_is_the_same_from_a_node(tmp_path: Path) -> None:
    """The end of the user's line, the first sound, incidents, and whom the system shows; the clock is the node's."""
    harness_kit.write_set(tmp_path / "set", count=1, turns=2)
    scenarios = load_set(str(tmp_path / "set"))
    (part,) = plan_scenarios(scenarios, scenarios)
    _, there = await placed("cluster_kit:OnAir", {})

    async def told_by(system: AvatarSystem, name: str) -> list[Exchange]:
        with Run(tmp_path / name, write=True) as run:
            run.record_planned(part)
            async with MediaPool() as media:
                host = Host(lambda: system)
                await host.start()
                told = [one async for one in Driver("it", host, run, media, DriveSettings()).play(part)]
                await host.stop()
            assert run.face_path("it", "test-001").read_bytes() == b"a face for test-001"
        return told

    both = await told_by(cluster_kit.OnAir(), "here"), await told_by(there, "there")
    for here, away in zip(*both, strict=True):
        assert here.outcome.value == away.outcome.value == "completed"
        assert [(kind, note) for _, kind, note in here.events] == [(kind, note) for _, kind, note in away.events]
        assert here.detail["incidents"] == away.detail["incidents"]
        assert here.detail.get("shows") == away.detail.get("shows")
        for one in (here, away):
            times = {kind: at for at, kind, _ in one.events}
            # What came before the end of the line lies before the clock's beginning: 0.2 s, less what it was late.
            assert times["text"] < -0.1 and times["user_turn_end"] == 0.0
            assert one.timings is not None and one.timings.continuous
            assert one.timings.first_speech_s is not None and one.timings.first_speech_s >= 0.0
        assert away.detail["transport_s"] >= 0.0


async def test_what_the_way_takes_is_in_no_latency(tmp_path: Path) -> None:
    """Half a second is added to every answer of the node: the whole turn takes two of them, its latency none."""

    class Far(Near):
        async def ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
            answer = await super().ask(method, *arguments, takes_s=takes_s)
            await asyncio.sleep(0.5)
            return answer

    harness_kit.write_set(tmp_path / "set", count=1, turns=1)
    link, system = await placed("cluster_kit:Varied", {})
    link.__class__ = Far
    scenarios = load_set(str(tmp_path / "set"))
    (part,) = plan_scenarios(scenarios, scenarios)
    with Run(tmp_path / "run", write=True) as run:
        run.record_planned(part)
        async with MediaPool() as media:
            host = Host(lambda: system)
            await host.start()
            (one,) = [one async for one in Driver("it", host, run, media, DriveSettings()).play(part)]
            await host.stop()
    assert one.detail["measured_at"] == "node"
    assert one.timings is not None
    # The second answer comes back after the turn's end; the turn itself may have filled the time of the first.
    assert one.detail["transport_s"] >= 0.5
    assert one.detail["transport_s"] + one.timings.complete_s >= 1.0
