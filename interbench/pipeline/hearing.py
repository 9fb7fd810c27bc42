"""How well a transcriber hears: it listens to the users, whose words are known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.ear_check import POOR, WordErrors, check_ear, word_errors
from interbench.base.errors import UsageError
from interbench.domain.persona import Voice
from interbench.media.pool import MediaPool
from interbench.pipeline.run_manifest import RunManifest, digest
from interbench.scenarios.plan import PlannedScenario
from interbench.scenarios.sets import ScenarioSet
from interbench.scenarios.user_audio import lines_of


async def check_hearing(
    transcriber: Transcriber,
    key: str,
    planned_scenarios: Sequence[PlannedScenario],
    media: MediaPool,
    manifest: RunManifest,
) -> str:
    """One line for people; the figures go into the manifest.

    Once per transcriber and set of turns, and again while turns are without a transcript.

    Args:
        transcriber: started.
        key: under which its transcripts are kept.
        planned_scenarios: the scenarios whose users are listened to.
        media: decodes their speech.
        manifest: holds the last check.
    """
    turns = [
        Utterance(
            key=_key(planned, index, variant),
            samples=None if audio is None else await media.audio(audio),
            facts=None,
            reported_text=planned.scenario.turns[index - 1].line(variant),
        )
        for planned in planned_scenarios
        for index, variant, audio in planned.all_audio()
    ]
    held = manifest.read().get("ear_check", {})
    said = _said((turn.key, turn.reported_text) for turn in turns if turn.samples is not None)
    if held.get("key") != key or held.get("said") != said or held.get("failed"):
        check = await check_ear(transcriber, turns)
        held = {**check.record(), "key": key, "said": said, "line": check.line()}
        manifest.amend(ear_check=held)
    return str(held["line"])


def said_by_users(planned_scenarios: Iterable[PlannedScenario]) -> str:
    """Under which a check of these scenarios is kept: SHA-256 over every line that is there as sound."""
    return _said(
        (_key(planned, index, variant), planned.scenario.turns[index - 1].line(variant))
        for planned in planned_scenarios
        for index, variant, audio in planned.all_audio()
        if audio is not None
    )


def _said(lines: Iterable[tuple[str, str | None]]) -> str:
    return digest(json.dumps(list(lines)))


def _key(planned: PlannedScenario, index: int, variant: int) -> str:
    return f"user/{planned.scenario.id}/{index}" + (f".{variant}" if variant else "")


async def check_voices(scenarios: ScenarioSet, transcriber: Transcriber) -> list[str]:
    """Lines for people: the word errors of a transcriber on a set's users, by voice, the worst first.

    Args:
        scenarios: whose lines are heard; those without a recording are counted and named.
        transcriber: not started yet; it is started and stopped.

    Raises:
        UsageError: the transcriber does not listen.
    """
    if not transcriber.needs_audio:
        raise UsageError(f"The transcriber {transcriber.label!r} does not listen; name one that does, such as funasr.")
    by_voice: dict[str, WordErrors] = {}
    failed = mute = 0
    lines = {line.path: line for line in lines_of(scenarios.scenarios)}
    async with MediaPool() as media:
        await transcriber.start()
        try:
            said = [line for path, line in lines.items() if path is not None]
            mute = sum(line.path is None for line in lines_of(scenarios.scenarios))
            for start in range(0, len(said), transcriber.batch_size):
                batch = said[start : start + transcriber.batch_size]
                heard = await transcriber.transcribe(
                    [
                        Utterance(line.path or "", await media.audio(scenarios.root / (line.path or "")), None, None)
                        for line in batch
                    ]
                )
                for line, transcript in zip(batch, heard, strict=True):
                    failed += transcript.error is not None
                    voice = _voice_name(line.voice)
                    by_voice[voice] = by_voice.get(voice, WordErrors(0)) + word_errors(line.text, transcript.text)
        finally:
            await transcriber.stop()
    total = sum(by_voice.values(), WordErrors(0))
    ordered = sorted(by_voice.items(), key=lambda item: (-item[1].rate, item[0]))
    result = [f"{voice}: {100 * errors.rate:.1f} % word errors on {errors.words} words" for voice, errors in ordered]
    poor = sum(errors.rate > POOR for errors in by_voice.values())
    result.append(
        f"{transcriber.label}: {100 * total.rate:.1f} % word errors over {len(by_voice)} voices, above "
        f"{100 * POOR:.0f} % in {poor} of them"
        + (f"; {failed} lines without a transcript, counted as unheard" if failed else "")
        + (f"; {mute} lines without a recording, not counted" if mute else "")
    )
    return result


def _voice_name(voice: Voice) -> str:
    return f"{voice.variant}" + (f" ({voice.description})" if voice.description else "")
