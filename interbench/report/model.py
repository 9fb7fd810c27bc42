"""What an HTML report is made from: one :class:`ReportData`, filled from a run's ledger and given to ``write_report``.

Records of the other rooms are taken as they are (exchanges, transcripts, verdicts, the table). Everything that follows
from them (totals, outcome counts, latencies, disagreement) is worked out by the report and is not asked for here. All
text is treated as hostile; nobody needs to clean it beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Transcript, Verdict
from interbench.domain.scenario import Scenario

if TYPE_CHECKING:
    from interbench.report.breakdown import Breakdown
    from interbench.report.changes import Changes
    from interbench.report.people import People
    from interbench.report.tables import Table
    from interbench.stats import Comparison


@dataclass(frozen=True, slots=True)
class JudgeFacts:
    """Who gave the scores."""

    label: str
    """``Judge.label``."""
    comparable: bool = True
    """``Judge.comparable``; False puts a notice above every figure."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """``Judge.identity()``, as frozen in the manifest."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """``Judge.summary()``: tokens computed and reused, calls ... ; empty if the judge counts nothing."""


@dataclass(frozen=True, slots=True)
class TranscriberFacts:
    """Who heard the clips."""

    label: str
    """``Transcriber.label``, e.g. ``given``."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Identity and, if there was one, the ear check (word error rate)."""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """One system under test."""

    name: str
    """As in exchanges, verdicts and the table, e.g. ``puppet:drift``."""
    version: str = ""
    description: str = ""
    """One sentence."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Capabilities and settings worth showing."""
    intact: str | None = None
    """For a controlled defect: the name of the system it was derived from."""
    lowers: tuple[str, ...] = ()
    """For a controlled defect: keys of the dimensions in which it must score below ``intact``."""
    media_root: Path | None = None
    """The run folder that holds its clips; None for the media root of the whole report."""


@dataclass(frozen=True, slots=True)
class PlayedScenario:
    """One scenario of the run."""

    scenario: Scenario
    persona: Persona | None
    user_audio: tuple[Path | None, ...] = ()
    """Per turn, in order, the user's speech as an absolute path; None (or a shorter tuple) where there is none. A file
    in the media root is linked; one elsewhere (the installed scenario set) is copied into the report."""
    portrait: Path | None = None
    """The persona's reference image, treated like ``user_audio``."""
    variant_audio: tuple[tuple[Path | None, ...], ...] = ()
    """Per turn the user's speech in its variants."""
    private: bool = False
    """Nothing is shown that says what was asked or answered (:mod:`interbench.report.withheld`)."""

    def line_audio(self, turn: int, variant: int) -> Path | None:
        """The user's speech in turn ``turn`` (1-based), saying variant ``variant`` (0: the turn's own line)."""
        if variant:
            variants = self.variant_audio[turn - 1] if turn <= len(self.variant_audio) else ()
            return variants[variant - 1] if variant <= len(variants) else None
        return self.user_audio[turn - 1] if turn <= len(self.user_audio) else None


@dataclass(frozen=True, slots=True)
class ShownConversation:
    """One scenario as played by one system: all the ledger holds of it, complete or not."""

    system: str
    scenario: str
    exchanges: tuple[Exchange, ...] = ()
    """At most one per turn, in any order; a turn without one is shown as not yet played. ``Exchange.clip`` is relative
    to the media root; a clip that is gone or lies outside is shown as such and not linked."""
    transcripts: Mapping[int, Transcript] = field(default_factory=dict)
    """By 1-based turn."""
    verdicts: tuple[Verdict, ...] = ()
    """All samples, by the judge of :attr:`ReportData.judge` only. A dimension without one counts as not yet judged."""
    clip_problems: Mapping[int, str] = field(default_factory=dict)
    """By 1-based turn: why its clip is not shown although a file of its name may be there."""


@dataclass(frozen=True, slots=True)
class ReportData:
    """A run, ready to be shown."""

    title: str
    """Headline, e.g. the run folder's name."""
    created: str
    """When the run began, ISO 8601 with offset, e.g. ``2026-01-31T14:05:00+00:00``."""
    finished: str | None
    """When its last record was written; None if nothing was recorded."""
    versions: Mapping[str, str]
    """interbench, Python, packages, git revision."""
    host: Mapping[str, Any]
    """Operating system, processor, memory, GPU ..."""
    scenario_set: str
    """Name or path of the set, as given."""
    scenario_digest: str
    """SHA-256 of the set as played."""
    judge: JudgeFacts
    transcriber: TranscriberFacts
    systems: tuple[SystemFacts, ...]
    """In the order of the table; colours follow it. Every system of ``conversations`` is among them."""
    scenarios: tuple[PlayedScenario, ...]
    """Those of the plan, in its order, also where nobody has played them yet."""
    conversations: tuple[ShownConversation, ...]
    """One per planned pair of system and scenario, played or not; a pair without one is shown as not planned."""
    table: Table
    """As ``interbench table`` prints it, with intervals."""
    comparisons: tuple[Comparison, ...] = ()
    """``interbench.stats.compare`` of any pairs worth showing: usually all of them, each pair once."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The run's frozen settings, secrets masked."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """Further figures over the whole run to be shown under costs (budget caps, GPU hours ...). What exchanges cost is
    added up by the report."""
    breakdowns: tuple[Breakdown, ...] = ()
    """The table apart by kind of scenario."""
    changes: Changes | None = None
    """Between runs, if the report is of several."""
    people: People | None = None
    """What people said of the run; None if nobody was asked."""
    notes: tuple[str, ...] = ()
    """Plain sentences for the top of the report, e.g. that the run is not finished or the ear check was poor."""

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        known = set(names)
        if len(known) < len(names):
            raise ValueError("Two systems of the report have the same name.")
        named = {c.system for c in self.conversations} | {r.system for r in self.table.rows}
        named |= {name for c in self.comparisons for name in (c.a, c.b)}
        scenarios = {entry.scenario.id for entry in self.scenarios}
        named |= {c.scenario for c in self.conversations if c.scenario not in scenarios}
        if unknown := sorted(named - known):
            raise ValueError(f"The report speaks of systems or scenarios it does not list: {', '.join(unknown)}.")
