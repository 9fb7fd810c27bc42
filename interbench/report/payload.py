"""The data of the conversation viewer: a small index of all scenarios, and per scenario one shard with all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from interbench.domain.dimensions import Dimension
from interbench.domain.records import ClipFacts, Exchange, Outcome, Timings, Transcript, Verdict
from interbench.report.links import Link, Links, anchor
from interbench.report.model import PlayedScenario, ReportData, ShownConversation
from interbench.stats import Pool

Percentile = Callable[[str, float], float | None]
"""Dimension key and raw score to percentile in the table's pool; None if the pool does not know the dimension."""

ClipLink = Callable[[str, str], Link]
"""From a clip's recorded name and the name a copy would have."""

Json = dict[str, Any]
OUTCOMES: tuple[str, ...] = (*(outcome.value for outcome in Outcome), "pending")
"""Every state a turn of the plan can be in; ``pending``: nobody has played it yet."""
_DEEPEST = 12


def percentile_in(pool: Pool) -> Percentile:
    """How single scores stand in ``pool``: 100 * Phi((x - mu) / sigma), and 50 where the pool has no spread."""
    from scipy.special import ndtr  # a second to import, in programs that write no report

    def percentile(dimension: str, score: float) -> float | None:
        known = pool.moments.get(dimension)
        if known is None:
            return None
        return 100.0 * float(ndtr((score - known.mu) / known.sigma)) if known.sigma > 0 else 50.0

    return percentile


def script(name: str, payload: Json) -> str:
    """A script that hands ``payload`` to the viewer under ``name``.

    The payload travels as one string literal that the viewer parses as JSON, so it is data in every browser, whatever
    its keys and texts are (``__proto__``, ``</script>``, U+2028, lone surrogates ...). The script is pure ASCII.
    """
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    literal = text.replace("\\", "\\\\").replace("'", "\\'").replace("<", "\\x3c").replace(">", "\\x3e")
    return f"interbench.receive({json.dumps(name)},'{literal}');\n"


def shard_name(index: int) -> str:
    """Of the scenario at this place of the plan. Not made from its id, which is text."""
    return f"scenario-{index + 1:04d}"


def index_payload(data: ReportData, percentile: Percentile) -> Json:
    """What lists, filters and the disagreement order need, for all scenarios at once."""
    played = {(c.system, c.scenario): c for c in data.conversations}
    dimensions = data.table.dimensions
    return {
        "dimensions": [{"key": d.key, "name": d.name, "group": d.group, "question": d.question} for d in dimensions],
        "systems": [{"name": s.name, "description": s.description} for s in data.systems],
        "judge": data.judge.label,
        "comparable": data.judge.comparable,
        "scenarios": [
            {
                "id": entry.scenario.id,
                "title": entry.scenario.title,
                "category": entry.scenario.category,
                "turns": len(entry.scenario.turns),
                "shard": shard_name(index),
                "cells": [
                    _cell(played.get((s.name, entry.scenario.id)), entry, percentile, dimensions) for s in data.systems
                ],
            }
            for index, entry in enumerate(data.scenarios)
        ],
    }


def _cell(
    conversation: ShownConversation | None,
    entry: PlayedScenario,
    percentile: Percentile,
    dimensions: Sequence[Dimension],
) -> Json:
    """One conversation in brief; one that is not planned has no outcomes.

    Lists over dimensions follow their order; null stands for no score.
    """
    if conversation is None:
        nothing = [None] * len(dimensions)
        return {"outcomes": [], "scores": nothing, "percentiles": nothing, "spread": nothing}
    exchanges = {e.turn: e for e in conversation.exchanges}
    samples = samples_by_dimension(conversation.verdicts, dimensions)
    scores = [_scores(samples[d.key]) for d in dimensions]
    means = [mean(values) for values in scores]
    return {
        "outcomes": [
            exchanges[turn].outcome.value if turn in exchanges else "pending"
            for turn in range(1, len(entry.scenario.turns) + 1)
        ],
        "scores": [_rounded(value) for value in means],
        "percentiles": [
            None if value is None else _rounded(percentile(d.key, value), 2)
            for d, value in zip(dimensions, means, strict=True)
        ],
        "spread": [_rounded(max(values) - min(values)) if len(values) > 1 else None for values in scores],
    }


def shard_payload(data: ReportData, index: int, links: Links) -> Json:
    """Everything the viewer shows of one scenario. Links (or copies) its media on the way."""
    entry = data.scenarios[index]
    scenario, persona = entry.scenario, entry.persona
    stem = f"{shard_name(index)}/"
    conversations = {c.system: c for c in data.conversations if c.scenario == scenario.id}
    audio = [*entry.user_audio, *[None] * len(scenario.turns)]
    return {
        "id": scenario.id,
        "stresses": list(scenario.stresses),
        "tags": list(scenario.tags),
        "persona": None
        if persona is None
        else {
            "name": persona.name,
            "age": persona.age,
            "gender": persona.gender,
            "appearance": persona.appearance,
            "background": persona.background,
            "portrait": _link(links.file(entry.portrait, f"{stem}portrait")) if entry.portrait else None,
        },
        "turns": [
            {
                "text": turn.text,
                "mood": turn.mood,
                "audio": _link(links.file(path, f"{stem}user-{number}")) if path else None,
                "reference": turn.reply,
                "points": [{"text": point.text, "needs": list(point.needs)} for point in turn.key_points],
                "leans": [{"turn": lean.turn, "carry": lean.carry} for lean in turn.leans_on],
            }
            for number, (turn, path) in enumerate(zip(scenario.turns, audio, strict=False), start=1)
        ],
        "systems": [
            _conversation(
                conversations.get(s.name),
                entry,
                links,
                f"{stem}{n + 1}-{anchor(s.name)}",
                partial(links.clip, root=s.media_root),
                data.table.dimensions,
            )
            for n, s in enumerate(data.systems)
        ],
    }


def _conversation(
    conversation: ShownConversation | None,
    entry: PlayedScenario,
    links: Links,
    stem: str,
    link: ClipLink,
    dimensions: Sequence[Dimension],
) -> Json | None:
    """``None`` for a pair that is not planned; in its turns ``None`` for one that has not been played yet."""
    if conversation is None:
        return None
    exchanges = {e.turn: e for e in conversation.exchanges}
    samples = samples_by_dimension(conversation.verdicts, dimensions)
    return {
        "turns": [
            _turn(
                exchanges[n],
                conversation.transcripts.get(n),
                f"{stem}-{n}",
                link,
                conversation.clip_problems.get(n),
            )
            | {"line": _line(exchanges[n], entry, links, f"{stem}-user-{n}")}
            if n in exchanges
            else None
            for n in range(1, len(entry.scenario.turns) + 1)
        ],
        "verdicts": [[_verdict(v) for v in sorted(samples[d.key], key=lambda v: v.sample)] for d in dimensions],
    }


def _turn(exchange: Exchange, transcript: Transcript | None, stem: str, link: ClipLink, problem: str | None) -> Json:
    return {
        "outcome": exchange.outcome.value,
        "code": exchange.code,
        "message": exchange.message,
        "clip": _clip(exchange, stem, link, problem),
        "facts": _facts(exchange.facts),
        "timings": _timings(exchange.timings, exchange.facts),
        "reported": exchange.reply_text,
        "transcript": None
        if transcript is None
        else {"text": transcript.text, "flags": list(transcript.flags), "error": transcript.error},
        "cost": _rounded(exchange.cost_usd),
        "parts": plain({step: _rounded(seconds) for step, seconds in exchange.parts_s.items()}),
        "detail": plain({key: value for key, value in exchange.detail.items() if key != "parts_s"}),
        "events": [[_rounded(at), kind, note] for at, kind, note in exchange.events],
    }


def _line(exchange: Exchange, entry: PlayedScenario, links: Links, stem: str) -> Json | None:
    """What the user said in this conversation alone, and why; None where it was the turn's own line."""
    if not exchange.variant:
        return None
    turn = entry.scenario.turns[exchange.turn - 1]
    audio = entry.line_audio(exchange.turn, exchange.variant)
    return {
        "text": turn.line(exchange.variant),
        "mood": turn.line_mood(exchange.variant),
        "audio": _link(links.file(audio, stem)) if audio else None,
        "guard": exchange.guard,
        "source": exchange.line_source,
    }


def _clip(exchange: Exchange, stem: str, link: ClipLink, problem: str | None) -> Json | None:
    if not exchange.clip:
        return None
    return _link(Link(None, problem) if problem else link(exchange.clip, stem))


def _facts(facts: ClipFacts | None) -> Json | None:
    if facts is None:
        return None
    return {
        "duration": _rounded(facts.duration_s),
        "width": facts.width,
        "height": facts.height,
        "fps": _rounded(facts.fps),
        "frames": facts.frames,
        "codec": facts.video_codec,
        "bytes": facts.bytes,
        "sha256": facts.sha256,
        "audio": "no audio track" if not facts.has_audio else "audible" if facts.audible else "silent track",
        "speech_start": _rounded(facts.speech_start_s),
    }


def _timings(timings: Timings | None, facts: ClipFacts | None) -> Json | None:
    if timings is None:
        return None
    return {
        "first_frame": None if timings.continuous else _rounded(timings.first_frame_s),
        "first_speech": _rounded(timings.first_speech_s),
        "complete": _rounded(timings.complete_s),
        "accepted": _rounded(timings.accepted_s),
        "from_sending": _rounded(timings.from_sending_s),
        "from_acceptance": _rounded(timings.from_acceptance_s),
        "resolution": _rounded(timings.resolution_s),
        "resumed": timings.resumed,
        "real_time_factor": _rounded(real_time_factor(timings, facts)),
        "throughput": _rounded(timings.throughput_fps(facts)) if facts and timings.complete_s > 0 else None,
    }


def _verdict(verdict: Verdict) -> Json:
    return {
        "sample": verdict.sample,
        "score": _rounded(verdict.score),
        "missing": None if verdict.missing is None else readable(verdict.missing.value),
        "expected": _rounded(verdict.expected_score),
        "reasons": verdict.reasons,
        "evidence": plain(verdict.evidence),
    }


def _link(link: Link) -> Json:
    return {"href": link.href, "problem": link.problem}


def samples_by_dimension(verdicts: Iterable[Verdict], dimensions: Sequence[Dimension]) -> dict[str, list[Verdict]]:
    """The verdicts of each of the ``dimensions``, an empty list where there is none."""
    grouped: dict[str, list[Verdict]] = {d.key: [] for d in dimensions}
    for verdict in verdicts:
        if verdict.dimension in grouped:
            grouped[verdict.dimension].append(verdict)
    return grouped


def real_time_factor(timings: Timings | None, facts: ClipFacts | None) -> float | None:
    """None where it is undefined: no times, no clip, or a clip without length."""
    if timings is None or facts is None or facts.duration_s <= 0:
        return None
    return timings.real_time_factor(facts)


def readable(value: str) -> str:
    """``not_measurable_offline`` as people write it."""
    return value.replace("_", " ")


def mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON knows it. Other types, numbers that JSON has no sign for and very deep nests become text."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item, depth + 1) for item in items]
    return str(value)


def _scores(verdicts: list[Verdict]) -> list[float]:
    return [v.score for v in verdicts if v.score is not None]


def _rounded(value: float | None, digits: int = 6) -> float | None:
    """Shorter files; far below anything shown. JSON has no sign for infinity, so that is nothing."""
    return round(value, digits) if value is not None and math.isfinite(value) else None
