"""Tries out a judge and says in plain words what is wrong with it.

What a run would find in its first minutes: whether it starts, which model it is, what it sees of videos, and one
verdict on a real conversation, with its time, tokens and the room that is left in the model's context.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interbench.base.errors import InterbenchError
from interbench.base.scratch import Scratch
from interbench.domain.dimensions import dimension
from interbench.domain.records import Exchange, PlayedConversation, PlayedTurn, Transcript, Verdict
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.script import ReferenceWriter
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.evidence import Evidence
from interbench.media.pool import MediaPool
from interbench.pipeline.findings import Finding, Level
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

_LITTLE_ROOM = 0.25
"""Share of the context that should be left after one bundled conversation: there are longer ones."""


async def check_judge(
    judge: Judge, key: str | None = None, *, system: str = "puppet", scenarios: str = "starter"
) -> list[Finding]:
    """Start ``judge``, let a system play a conversation, and ask for one verdict.

    Args:
        judge: not started.
        key: of the dimension; None: one of those that take a picture, where the judge is asked for any.
        system: who plays.
        scenarios: the set whose first scenario is played.

    Returns:
        What was found; the checks end early where nothing more can be tried.
    """
    key = key or next((one for one in ("MVC", "look") if one in judge.dimensions), judge.dimensions[0])
    dimension(key)
    findings: list[Finding] = []
    try:
        began = time.monotonic()
        try:
            await judge.start()
        except InterbenchError as error:
            return [Finding("wrong", str(error))]
        except Exception as error:
            return [Finding("wrong", f"start() failed: {type(error).__name__}: {error}")]
        findings.append(Finding("ok", f"{judge.label} answers and is ready after {time.monotonic() - began:.1f} s"))
        findings += _who_it_is(judge)
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(Scratch("judge")).path
            conversation = await _conversation(folder, system, scenarios, judge)
            findings += await _verdict(judge, conversation, key)
    finally:
        await judge.stop()
    return findings


def _who_it_is(judge: Judge) -> list[Finding]:
    identity = judge.identity()
    findings = [Finding("note", str(remark)) for remark in judge.summary().get("remarks", ())]
    if identity.get("frames_checked"):
        findings.append(Finding("ok", "shows videos as the settings say: frames, their times and their pixels"))
    if not judge.comparable:
        findings.append(
            Finding("note", "its figures are not comparable with those of a vision-language model; tables say so")
        )
    return findings


async def _conversation(folder: Path, system: str, scenarios: str, judge: Judge) -> PlayedConversation:
    whole = load_set(scenarios)
    planned = plan_scenarios(whole, whole)[0]
    host = Host(SystemSpec.parse(system, {}).factory())
    await host.start()
    try:
        with Run(folder / "run", write=True) as run:
            async with MediaPool() as media:
                driver = Driver(system, host, run, media, DriveSettings(), writer=ReferenceWriter())
                exchanges = [exchange async for exchange in driver.play(planned)]
                conversation = _as_judges_see_it(planned, exchanges, run)
                if conversation.why_no_clip():
                    return conversation
                return await Evidence(run, media).given(conversation, judge.shown)
    finally:
        await host.stop()


def _as_judges_see_it(planned: PlannedScenario, exchanges: Sequence[Exchange], run: Run) -> PlayedConversation:
    turns = tuple(
        PlayedTurn(
            exchange.turn,
            turn.text,
            turn.mood,
            exchange.outcome,
            exchange.message,
            None if exchange.clip is None else (run.path / exchange.clip).resolve(),
            exchange.facts,
            Transcript(exchange.reply_text or "", flags=("reported",)),
            timings=exchange.timings,
        )
        for turn, exchange in zip(planned.scenario.turns, exchanges, strict=True)
    )
    return PlayedConversation(exchanges[0].system, planned.scenario, turns, "given", planned.persona, planned.portrait)


async def _verdict(judge: Judge, conversation: PlayedConversation, key: str) -> list[Finding]:
    what = f"a conversation of {len(conversation.turns)} turns ({conversation.scenario.id})"
    began = time.monotonic()
    try:
        given = [verdict async for verdict in judge.judge(conversation, [JudgeTask(key)])]
    except InterbenchError as error:
        return [Finding("wrong", f"{what}: {error}")]
    except Exception as error:
        return [Finding("wrong", f"{what}: judge() failed: {type(error).__name__}: {error}")]
    seconds = time.monotonic() - began
    if [verdict.dimension for verdict in given] != [key]:
        named = ", ".join(verdict.dimension for verdict in given) or "nothing"
        return [Finding("wrong", f"{what}: asked for {key} it gave {named}; one verdict per task is wanted")]
    return [_score(what, given[0], seconds), *_room(judge, judge.summary())]


def _score(what: str, verdict: Verdict, seconds: float) -> Finding:
    words = " ".join(verdict.reasons.split())
    words = words if len(words) <= 160 else words[:159] + "…"
    if verdict.missing is not None:
        reason = verdict.missing.value.replace("_", " ")
        return Finding("wrong", f"{what}: no score in {verdict.dimension} after {seconds:.1f} s ({reason}): {words}")
    return Finding("ok", f"{what}: {verdict.dimension} {verdict.score:g} after {seconds:.1f} s: {words}")


def _room(judge: Judge, summary: Mapping[str, Any]) -> list[Finding]:
    calls = summary.get("calls")
    if not calls:
        return []
    longest, written = summary["prompt_tokens"] // calls, summary["completion_tokens"]
    told = f"{calls} call{'' if calls == 1 else 's'}: {summary['prompt_tokens']:,} tokens read, {written:,} written"
    if summary.get("usd") is not None:
        told += f", {summary['usd']:.4f} USD"
    findings = [Finding("ok", told)]
    identity = judge.identity()
    context = identity.get("served", {}).get("context")
    if context is None:
        return [*findings, Finding("note", "the server does not say how long its model's context is")]
    left = context - longest - identity.get("max_tokens", 0)
    if left < 0:
        findings.append(
            Finding("wrong", f"the context of {context:,} tokens is too short by {-left:,}: see docs/judge.md")
        )
    else:
        level: Level = "ok" if left >= _LITTLE_ROOM * context else "note"
        findings.append(
            Finding(level, f"of the context of {context:,} tokens {left:,} are left after the longest answer")
        )
    return findings
