"""The manifest of a run that was merged from shards: what they have in common, and what adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interbench.asr.ear_check import merged_checks
from interbench.base.errors import IncomparableError
from interbench.judge.vlm.likeness import Likeness
from interbench.pipeline.hearing import said_by_users
from interbench.pipeline.shards import Sharding
from interbench.scenarios.plan import PlannedScenario
from interbench.store.manifest import SCHEMA
from interbench.store.merge import Source

_CAPS = ("max_usd", "max_video_seconds")
_HIGHEST = ("most_in_flight",)
"""Figures of a judge's summary of which the merged run has the highest; others add up."""


def merged_manifest(
    sources: Sequence[Source], sharding: Sharding, digest: str, planned_scenarios: Sequence[PlannedScenario]
) -> dict[str, Any]:
    """The manifest, without the run's id and revision.

    Args:
        sources: shards without a scenario in common that were made alike, in the order of their numbers.
        sharding: what they are together.
        digest: of all that they hold.
        planned_scenarios: their scenarios, in the order of the plan.

    Raises:
        IncomparableError: two judges that call themselves alike are not.
    """
    held = [source.manifest for source in sources]
    first = held[0]
    order = {scenario: index for index, scenario in enumerate(sharding.scenarios)}
    known = {planned.scenario.id for planned in planned_scenarios}
    invocations = [one for manifest in held for one in manifest.get("invocations", [])]
    finished = [manifest.get("finished") for manifest in held]
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "created": min(manifest["created"] for manifest in held),
        "frozen": {**_united(held, "frozen"), "shard": None},
        "scenarios": _united(held, "scenarios"),
        "personas": _united(held, "personas"),
        "plan": {
            label: sorted(
                (one for manifest in held for one in manifest["plan"].get(label, ()) if one in known),
                key=order.__getitem__,
            )
            for label in first["plan"]
        },
        "systems": _united(held, "systems"),
        "prompts": first["prompts"],
        "settings": _settings([manifest["settings"] for manifest in held]),
        "invocations": sorted(invocations, key=lambda one: str(one.get("at", ""))),
        "shard": sharding.record(),
        "merged": {"digest": digest, "shards": [_origin(manifest) for manifest in held]},
    }
    if first.get("scenario_sets"):
        manifest["scenario_sets"] = first["scenario_sets"]
    if all(finished):
        manifest["finished"] = max(str(one) for one in finished)
    for maker in ("transcriber", "judge"):
        if key := next((one[maker] for one in held if one.get(maker)), None):
            manifest[maker] = key
    if manifest.get("transcriber"):
        notes = [note for one in held for note in one.get("transcriber_notes", ())]
        manifest["transcriber_notes"] = list(dict.fromkeys(notes))
    if likeness := _likeness(sources):
        manifest["judge_likeness"] = likeness
    if any("judge_summary" in one for one in held):
        manifest["judge_summary"] = _summed([one.get("judge_summary", {}) for one in held])
    if copies := [one["plain_copies"] for one in held if "plain_copies" in one]:
        because = {clip: why for one in copies for clip, why in one["because"].items()}
        manifest["plain_copies"] = {"recipe": max(one["recipe"] for one in copies), "because": because}
    if clusters := [one["cluster"] for one in held if "cluster" in one]:
        every = [node for cluster in clusters for node in cluster["nodes"]]
        manifest["cluster"] = {**clusters[0], "nodes": _each(every)}
    checks = [one["ear_check"] for one in held if one.get("ear_check", {}).get("key") == manifest.get("transcriber")]
    if len(checks) == len(held):
        check = merged_checks(checks)
        own = {"key": manifest["transcriber"], "said": said_by_users(planned_scenarios), "line": check.line()}
        manifest["ear_check"] = {**check.record(), **own}
    return manifest


def _united(held: Sequence[Mapping[str, Any]], entry: str) -> dict[str, Any]:
    return {name: value for manifest in reversed(held) for name, value in manifest[entry].items()}


def _settings(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those of the first; what each shard might spend adds up, and none has a cap where one had none."""
    caps = {
        name: None if any(one.get(name) is None for one in told) else sum(one[name] for one in told) for name in _CAPS
    }
    kept = {name: value for name, value in told[0].items() if name != "out"}
    return {**kept, **caps, "shard": None, "retry": []}


def _origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    invocations = manifest.get("invocations") or [{}]
    return {
        "numbers": manifest["shard"]["numbers"],
        "run_id": manifest.get("run_id"),
        "revision": manifest.get("revision"),
        "hosts": [host for host in _each(one.get("host") for one in invocations) if host],
    }


def _each(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _likeness(sources: Sequence[Source]) -> dict[str, Any]:
    """By judge what tells it from others of its name.

    Raises:
        IncomparableError: two of them are not alike.
    """
    found: dict[str, tuple[Any, Source]] = {}
    for source in sources:
        for key, own in source.manifest.get("judge_likeness", {}).items():
            if key not in found:
                found[key] = (own, source)
                continue
            known, where = found[key]
            if why := _unlike(own, known):
                raise IncomparableError(
                    f"The judges of {where.path} and {source.path} call themselves alike and are not the same: {why}. "
                    f"Judge one of the shards again, with the judge of the other (`interbench judge RUN`)."
                )
    return {key: own for key, (own, _) in found.items()}


def _unlike(own: Any, known: Any) -> str:
    if own == known:
        return ""
    try:
        return Likeness.read(own).difference(Likeness.read(known))
    except (KeyError, TypeError, ValueError, AttributeError):
        return "what they say of themselves differs"


def _summed(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of a judge over all shards; None where one of them does not know its own."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for summary in summaries for name in summary):
        values = [summary[name] for summary in summaries if name in summary]
        if all(isinstance(value, list) for value in values):
            result[name] = sorted({str(one) for value in values for one in value})
        elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            whole = len(values) == len(summaries)
            result[name] = (max(values) if name in _HIGHEST else sum(values)) if whole else None
        else:
            result[name] = values[0] if all(value == values[0] for value in values) else None
    return result
