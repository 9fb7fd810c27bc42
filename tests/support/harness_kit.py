"""What tests of the harness share: a small scenario set, real small MP4s, and systems good and bad.

A module of its own, so that processes started by tests can load the systems by ``harness_kit:Class``.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import ResumeUnsupportedError
from interbench.domain.persona import Persona
from interbench.domain.records import Transcript
from interbench.media.pool import encode_audio
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.clip import ClipSystem, Reply
from interbench.systems.events import (
    Blocked,
    Completed,
    Event,
    Failed,
    JsonValue,
    Media,
    PastTurn,
    ProgressReport,
    ReplyText,
    Retired,
    Submitted,
    TurnRequest,
)

PERSONA: dict[str, Any] = {
    "id": "tess",
    "name": "Tess",
    "age": 30,
    "gender": "female",
    "appearance": "A woman with short brown hair in a green jumper.",
    "background": "A plain wall.",
}


def scenario(index: int, turns: int = 3) -> dict[str, Any]:
    """A scenario as JSON types. The facts of turn 2 and later need the first turn."""
    return {
        "id": f"test-{index:03d}",
        "category": f"category-{index % 2}",
        "title": f"Scenario {index}",
        "persona": "tess",
        "stresses": ["SR", "CU"],
        "turns": [
            {
                "text": f"Question {turn} of conversation {index}, please?",
                "mood": "curious",
                "reply": f"The answer is blue number {turn} and the river {index} runs north.",
                "reply_mood": "friendly",
                "key_points": [
                    {"text": "blue", "accept": ["blue"]},
                    {"text": "north", "accept": ["north"], "needs": [1] if turn > 1 else []},
                ],
                "leans_on": [{"turn": 1, "carry": "the river"}] if turn > 1 else [],
            }
            for turn in range(1, turns + 1)
        ],
    }


def write_set(folder: Path, count: int = 2, turns: int = 3) -> Path:
    """A scenario set in ``folder``."""
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(scenario(index, turns)) + "\n" for index in range(1, count + 1))
    (folder / "scenarios.jsonl").write_text(lines)
    (folder / "personas.jsonl").write_text(json.dumps(PERSONA) + "\n")
    return folder


def write_tone(path: Path) -> Path:
    """A second of sound, as the suffix says."""
    encode_audio(0.2 * np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000, path)
    return path


OWN, ASKED, REFUSED = "And then what happens?", "I came by train, since you ask.", "Then let us leave it."
"""Lines of the user in turns 2 and 3 of :func:`write_reacting_set`: after any answer, a question, a refusal."""


def write_reacting_set(folder: Path, **facts: Any) -> Path:
    """A set of one conversation of three turns whose user reacts, spoken as Opus; ``facts`` go into ``set.json``."""
    write_set(folder, count=1)
    told = json.loads((folder / "scenarios.jsonl").read_text())
    (folder / "audio").mkdir()
    for name in ("own", "asked", "refused"):
        write_tone(folder / f"audio/{name}.ogg")
    for turn in told["turns"]:
        turn["audio"] = "audio/own.ogg"
    for turn in told["turns"][1:]:
        turn["text"] = OWN
        turn["variants"] = [
            {"when": {"asks": True}, "text": ASKED, "mood": "eager", "audio": "audio/asked.ogg"},
            {"when": {"refuses": True}, "text": REFUSED, "audio": "audio/refused.ogg"},
        ]
    (folder / "scenarios.jsonl").write_text(json.dumps(told) + "\n")
    if facts:
        (folder / "set.json").write_text(json.dumps(facts))
    return folder


def write_clip(
    path: Path,
    *,
    seconds: float = 0.6,
    shade: int = 128,
    loud: bool = True,
    audio: bool = True,
    fragmented: bool = False,
    quiet_s: float = 0.0,
) -> Path:
    """A small real MP4: a moving bar on a shade of grey, with a tone that begins after ``quiet_s``.

    Fragmented, it has a fragment per half second.
    """
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if fragmented else {"movflags": "faststart"}
    rate, fps = 16_000, 10
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": "5"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono") if audio else None
        for number in range(round(seconds * fps)):
            picture = np.full((64, 96, 3), shade, np.uint8)
            picture[:, (number * 7) % 90 : (number * 7) % 90 + 6] = 255 - shade
            for packet in video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        container.mux(video.encode(None))
        if sound is not None:
            t = np.arange(round(seconds * rate)) / rate
            wave = (np.sin(2 * np.pi * 220 * t) * (0.3 if loud else 0.0) * (t >= quiet_s)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


class Good(ClipSystem):
    """Answers every turn; notes each rendering in a log, so that tests can count them."""

    capabilities = Capabilities(reports_text=True, needs_reference=True, state="history", seedable=True)

    def __init__(self, log: str | None = None, pause_s: float = 0.0) -> None:
        self._log = log
        self._pause_s = float(pause_s)

    @property
    def version(self) -> str:
        return "1"

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        if self._pause_s:
            time.sleep(self._pause_s)
        write_clip(output, shade=40 + 10 * turn.index)
        if self._log is not None:
            with Path(self._log).open("a") as log:
                log.write(f"{turn.scenario}/{turn.index}/{turn.seed}/{len(turn.history)}\n")
        assert turn.reference is not None
        return Reply(turn.reference.reply)


class Echoes(ClipSystem):
    """Answers with a film of its own, and reports what the user said."""

    capabilities = Capabilities(reports_text=True, state="history", seedable=True)

    def __init__(self, film: str) -> None:
        self._film = Path(film)

    @property
    def version(self) -> str:
        return "1"

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        output.write_bytes(self._film.read_bytes())
        return Reply(turn.text)


class Says(ClipSystem):
    """Answers every turn with the same words (``@PATH``: those of a file); notes in a log what it was told, as JSON."""

    version = "1"

    capabilities = Capabilities(reports_text=True, state="history")

    def __init__(self, film: str, words: str, reports: bool = True, log: str | None = None) -> None:
        words = Path(words[1:]).read_text() if words.startswith("@") else words
        self._film, self._words, self._reports, self._log = Path(film), words, reports, log

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        output.write_bytes(self._film.read_bytes())
        if self._log is not None:
            told = {
                "text": turn.text,
                "mood": turn.mood,
                "audio": "" if turn.audio is None else turn.audio.read_bytes()[:4].decode("latin-1"),
                "path": str(turn.audio),
                "history": [past.user_text for past in turn.history],
            }
            with Path(self._log).open("a") as log:
                log.write(json.dumps(told) + "\n")
        return Reply(self._words if self._reports else None)


class SaysNothingOfIt(Good):
    """Answers every turn and does not say what its avatar says."""

    version = "1"
    capabilities = Capabilities(needs_reference=True, state="history")

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        super().render(persona, turn, output)
        return Reply()


class Scripted(AvatarSystem):
    """Base of the systems below: one conversation class, no state."""

    async def open(self, persona: Persona) -> Conversation:
        return _Scripted(self)

    def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        raise NotImplementedError


class _Scripted(Conversation):
    def __init__(self, system: Scripted) -> None:
        self.system = system

    def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        return self.system.answer(turn)


class Raises(Scripted):
    """Raises in its second turn."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        if turn.index == 2:
            raise RuntimeError("the weights melted")
        yield Completed(write_clip(turn.workdir / "a.mp4"))


class Silent(Scripted):
    """Ends without a final event."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield ProgressReport(0.5, "half way")


class Hangs(Scripted):
    """Never answers, but can be cancelled."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Completed()


class Blocks(Scripted):
    """Blocks its event loop in the first turn of the first scenario; answers everything else."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        if turn.index == 1 and turn.scenario == "test-001":
            time.sleep(30)  # noqa: ASYNC251 - what a careless adapter does
        yield Completed(write_clip(turn.workdir / "a.mp4"))


class WritesNothing(Scripted):
    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield Completed(turn.workdir / "a.mp4")


class WritesHalf(Scripted):
    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        path = write_clip(turn.workdir / "a.mp4")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        yield Completed(path)


class Outside(Scripted):
    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield Completed(write_clip(turn.workdir / ".." / "outside.mp4"))


class Links(Scripted):
    """Hands back a symbolic link to a file elsewhere."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        elsewhere = write_clip(turn.workdir.parent / "elsewhere.mp4")
        link = turn.workdir / "a.mp4"
        link.symlink_to(elsewhere)
        yield Completed(link)


class LinkedFolder(Scripted):
    """Hands back a file in a folder that is a link to elsewhere."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        elsewhere = turn.workdir.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        write_clip(elsewhere / "a.mp4")
        (turn.workdir / "folder").symlink_to(elsewhere)
        yield Completed(turn.workdir / "folder" / "a.mp4")


class NotAnEvent(Scripted):
    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield {"completed": True}  # type: ignore[misc]


class Refuses(Scripted):
    """Blocked in the second turn."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        if turn.index == 2:
            yield Blocked("moderation_blocked", "not this one <script>alert(1)</script>")
            return
        yield ReplyText("fine")
        yield Completed(write_clip(turn.workdir / "a.mp4"))


class Gone(Scripted):
    """Retired from the second turn on."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        if turn.index == 1:
            yield Completed(write_clip(turn.workdir / "a.mp4"))
        else:
            yield Retired("the model is no longer available")


class Streams(Scripted):
    """Sends a fragmented MP4 in chunks."""

    capabilities = Capabilities(output="stream", reports_text=True)

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        data = write_clip(turn.workdir / "source.mp4", seconds=1.0, fragmented=True).read_bytes()
        for start in range(0, len(data), 1024):
            yield Media(data[start : start + 1024])
            if start == 0:
                yield ReplyText("It streams ")
        yield ReplyText("well.")
        yield Completed(detail={"chunks": len(data) // 1024, "server": {"queue_s": 0.25}})


class StreamsAndHangs(Scripted):
    """Sends the beginning of a clip and no more of it, and keeps notes."""

    capabilities = Capabilities(output="stream", reports_text=True)

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        (turn.workdir / "notes.txt").write_text("so far so good")
        yield Media(b"\0\0\0\x18ftypisom")
        await asyncio.sleep(3600)
        yield Completed()


class CantOpen(AvatarSystem):
    async def open(self, persona: Persona) -> Conversation:
        raise ConnectionError("no route to the avatar")


class Jobs(AvatarSystem):
    """Works by jobs that cost money: each submission is noted in a log; a job can be taken up again by its id."""

    capabilities = Capabilities(resumes_jobs=True, state="session", poll_period_s=0.01, price_usd_per_s=0.1)

    def __init__(self, log: str = "jobs.log", die_after_submit: bool = False) -> None:
        self.log = Path(log)
        self.die = die_after_submit

    async def open(self, persona: Persona) -> Conversation:
        return _JobConversation(self)


class _JobConversation(Conversation):
    def __init__(self, system: Jobs) -> None:
        self.system = system
        self.memory: list[int] = []

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        job = f"job-{turn.scenario}-{turn.index}"
        with self.system.log.open("a") as log:
            log.write(f"submit {job}\n")
        yield Submitted(job, {"model": "m"})
        if self.system.die and turn.index == 2:
            os.kill(os.getpid(), 9)
        async for event in self._finish(turn):
            yield event

    async def resume(self, turn: TurnRequest, job_id: str) -> AsyncIterator[Event]:
        with self.system.log.open("a") as log:
            log.write(f"resume {job_id}\n")
        async for event in self._finish(turn):
            yield event

    async def _finish(self, turn: TurnRequest) -> AsyncIterator[Event]:
        self.memory.append(turn.index)
        path = write_clip(turn.workdir / "a.mp4")
        yield Completed(path, detail={"memory": self.memory}, cost_usd=0.06)

    def state(self) -> JsonValue:
        return {"memory": list(self.memory)}

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        assert isinstance(state, Mapping)
        memory = state["memory"]
        assert isinstance(memory, list)
        self.memory = [int(item) for item in memory if isinstance(item, int)]


class Listener(Transcriber):
    """Hears the same words in everything."""

    label = "listener"

    def identity(self) -> Mapping[str, Any]:
        return {}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        assert all(one.samples is not None for one in batch)
        return [Transcript("Words that the avatar says.") for _ in batch]


class Forgetful(Good):
    """Keeps its memory in the session and can't restore it."""

    capabilities = Capabilities(reports_text=True, needs_reference=True, state="session")

    async def open(self, persona: Persona) -> Conversation:
        inner = await super().open(persona)

        class Session(Conversation):
            def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
                return inner.respond(turn)

            async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
                raise ResumeUnsupportedError("the session is gone")

        return Session()


class Flaky(Good):
    """Fails its second turns until the file ``healed`` exists."""

    def __init__(self, healed: str, log: str | None = None) -> None:
        super().__init__(log)
        self._healed = Path(healed)

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        if turn.index == 2 and not self._healed.exists():
            raise RuntimeError("not yet")
        return super().render(persona, turn, output)


class Fails(Scripted):
    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield Failed("processing_error", "try later", transient=True)


class Sleeps(Scripted):
    """Blocks its event loop for a moment in every turn."""

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        time.sleep(1.0)  # noqa: ASYNC251 - what a careless adapter does
        yield Completed(write_clip(turn.workdir / "a.mp4"))


class Leaks(Good):
    """Puts its key where everyone can read it."""

    def settings(self) -> Mapping[str, JsonValue]:
        return {"api_key": "sk-123"}
