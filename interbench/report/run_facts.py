"""What a report says of a run beside its scores: who played, heard and judged, on what, and each conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interbench.domain.records import Exchange, Transcript, Verdict
from interbench.drive.spending import spoken_totals
from interbench.report.model import (
    JudgeFacts,
    PlayedScenario,
    ShownConversation,
    SystemFacts,
    TranscriberFacts,
)
from interbench.report.run_records import RunRecords
from interbench.store.run_folder import identity_key


def last_invocation(run: RunRecords) -> Mapping[str, Any]:
    """What the manifest keeps of the last command that added to the run; empty if there was none."""
    invocations = run.manifest.get("invocations", [])
    last: Mapping[str, Any] = invocations[-1] if invocations else {}
    return last


def judge_facts(run: RunRecords) -> JudgeFacts:
    """Whose verdicts ``run`` was read with."""
    return JudgeFacts(
        label=run.judge.name if run.judge else "not judged",
        comparable=run.judge.comparable if run.judge else True,
        identity=run.judge_identity,
        summary=run.manifest.get("judge_summary", {}),
    )


def transcriber_facts(run: RunRecords) -> TranscriberFacts:
    """Who heard its clips."""
    ear = run.manifest.get("ear_check")
    return TranscriberFacts(
        run.transcriber or "not transcribed",
        {**run.transcriber_identity, **({"ear check": ear["line"]} if ear else {})},
    )


def played_scenarios(run: RunRecords) -> tuple[PlayedScenario, ...]:
    """Those of its plan."""
    return tuple(
        PlayedScenario(
            planned.scenario,
            planned.persona,
            planned.audio,
            planned.portrait,
            planned.variant_audio,
            private=planned.private,
        )
        for planned in run.planned_scenarios
    )


def run_usage(run: RunRecords) -> dict[str, str]:
    """What the run has cost and may cost, for people; empty if nothing in it costs money."""
    if not run.spending:
        return {}
    settings = run.manifest["settings"]
    caps = [
        f"{settings[name]:g} {unit}"
        for name, unit in (("max_usd", "USD"), ("max_video_seconds", "s of video"))
        if settings.get(name) is not None
    ]
    return {"paid services": spoken_totals(run.spending), "caps": ", ".join(caps) or "none"}


def set_names(manifest: Mapping[str, Any]) -> str:
    """The sets that a run was played from, with their versions where they are known."""
    named = [f"{held['name']} ({held['digest'][:12]})" for held in manifest.get("scenario_sets", ())]
    return ", ".join(named) or str(manifest["settings"]["scenarios"])


def set_digest(manifest: Mapping[str, Any]) -> str:
    """Of the scenarios and personas as they were played."""
    return identity_key({"scenarios": manifest["scenarios"], "personas": manifest["personas"]})


def system_facts(run: RunRecords) -> tuple[SystemFacts, ...]:
    """Of every system of its plan."""

    def facts(label: str) -> SystemFacts:
        known = run.manifest["systems"].get(label, {})
        return SystemFacts(
            name=label,
            version=str(known.get("version", "")),
            description=str(known.get("description", "")),
            settings={**known.get("settings", {}), **known.get("capabilities", {})},
            intact=_intact(label, run.manifest) if known.get("lowers") else None,
            lowers=tuple(known.get("lowers", ())),
            media_root=run.path,
        )

    return tuple(facts(label) for label in run.plan)


def _intact(label: str, manifest: Mapping[str, Any]) -> str | None:
    """The system of this run that a controlled defect was derived from."""
    whole = str(manifest["systems"][label]["spec"]).partition(":")[0]
    return next((other for other, facts in manifest["systems"].items() if facts.get("spec") == whole), None)


def shown_conversations(run: RunRecords) -> tuple[ShownConversation, ...]:
    """All of its plan, played or not, of which it is known what was to be asked."""
    known = run.turns
    exchanges: dict[tuple[str, str], list[Exchange]] = {}
    for exchange in run.exchanges:
        exchanges.setdefault((exchange.system, exchange.scenario), []).append(exchange)
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in run.verdicts:
        verdicts.setdefault((verdict.system, verdict.scenario), []).append(verdict)
    transcripts: dict[tuple[str, str], dict[int, Transcript]] = {}
    for key, transcript in run.transcripts.items():
        transcripts.setdefault((key.system, key.scenario), {})[key.turn] = transcript
    return tuple(
        ShownConversation(
            system=system,
            scenario=scenario,
            exchanges=tuple(exchanges.get((system, scenario), ())),
            transcripts=transcripts.get((system, scenario), {}),
            verdicts=tuple(verdicts.get((system, scenario), ())),
            clip_problems={
                key.turn: problem.message
                for key, problem in run.clip_problems.items()
                if (key.system, key.scenario) == (system, scenario)
            },
        )
        for system, scenarios in run.plan.items()
        for scenario in scenarios
        if scenario in known
    )
