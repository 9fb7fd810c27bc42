"""How well a run's transcriber hears: it listens to the users, whose words are known."""

from __future__ import annotations

import json
from collections.abc import Sequence

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.ear_check import check_ear
from interbench.media.pool import MediaPool
from interbench.pipeline.run_manifest import RunManifest, digest
from interbench.scenarios.plan import PlannedScenario


async def check_hearing(
    transcriber: Transcriber, key: str, parts: Sequence[PlannedScenario], media: MediaPool, manifest: RunManifest
) -> str:
    """One line for people; the figures go into the manifest.

    Once per transcriber and set of turns, and again while turns are without a transcript.

    Args:
        transcriber: started.
        key: under which its transcripts are kept.
        parts: the scenarios whose users are listened to.
        media: decodes their speech.
        manifest: holds the last check.
    """
    turns = [
        Utterance(
            key=f"user/{part.scenario.id}/{index}" + (f".{variant}" if variant else ""),
            samples=None if audio is None else await media.audio(audio),
            facts=None,
            reported_text=part.scenario.turns[index - 1].line(variant),
        )
        for part in parts
        for index, variant, audio in part.all_audio()
    ]
    held = manifest.read().get("ear_check", {})
    said = digest(json.dumps([(turn.key, turn.reported_text) for turn in turns if turn.samples is not None]))
    if held.get("key") != key or held.get("said") != said or held.get("failed"):
        check = await check_ear(transcriber, turns)
        held = {**check.record(), "key": key, "said": said, "line": check.line()}
        manifest.amend(ear_check=held)
    return str(held["line"])
