"""Which conditions an audit has: the entries of the catalogue at their strengths, and the controls."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from interbench.audit.effects import Condition
from interbench.domain.catalogue import Catalogue, Channel, Entry, Kind

BASE, WORDS, SHAM = "base", "words", "sham"
"""The controls: the conversations as they are; the reference replies under them; through the encoder."""
RENAMED = "renamed"
"""The conversations as they are, under another label."""
_CONTROLS = {"base": BASE, "words": WORDS, "sham": SHAM}
_BEHIND_AIMS = (Kind.DEFECT, Kind.BLINDNESS, Kind.CHANNEL, Kind.POSITION)


def make_conditions(
    catalogue: Catalogue,
    scored: Collection[str],
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    hears: bool = False,
    played: bool = True,
    whole: bool = False,
) -> tuple[Condition, ...]:
    """In the order in which they are shown.

    Args:
        catalogue: what there is.
        scored: keys that the judge scores.
        quick: one strength of each entry, and of the entries those that are for quick audits and aim at what is scored.
        only: of the dimensions, those whose defects are tried; none means all.
        hears: whether the judge perceives sound.
        played: with those that the base must play itself.
        whole: with ``quick``, all entries all the same.
    """
    entries = [
        entry
        for entry in catalogue
        if entry.kind is not Kind.GROSS
        and (played or not entry.played)
        and (not quick or whole or entry.quick)
        and (not quick or whole or entry.kind not in _BEHIND_AIMS or entry.aim(scored))
        and (not only or entry.kind not in _BEHIND_AIMS or {entry.aims, entry.offline} & set(only))
    ]
    found = [
        Condition(BASE, BASE, Kind.CHANNEL, ""),
        Condition(RENAMED, RENAMED, Kind.CHANNEL, ""),
        Condition(WORDS, WORDS, Kind.CHANNEL, ""),
    ]
    for entry in sorted(entries, key=lambda entry: entry.name != SHAM):
        found += _of(entry, scored, quick=quick, hears=hears)
    names = {condition.name for condition in found}
    return tuple(condition for condition in found if condition.control in names or not condition.control)


def _of(entry: Entry, scored: Collection[str], *, quick: bool, hears: bool) -> list[Condition]:
    tried = range(1, len(entry.strengths) + 1)
    if quick and entry.kind is not Kind.VERBOSITY:
        tried = range(len(entry.strengths), len(entry.strengths) + 1)
    control = _CONTROLS.get(entry.control, "")
    if entry.control == "none":
        # A weak conversation is compared with nothing; an injection with the harmless text in its place.
        control = entry.against if entry.kind is Kind.INJECTION else ""
    return [
        Condition(
            name_of(entry, strength),
            entry.name,
            entry.kind,
            control,
            strength,
            len(entry.strengths),
            entry.strengths[strength - 1],
            entry.aim(scored),
            frozenset(entry.may),
            unheard=entry.heard and not hears,
        )
        for strength in tried
    ]


def name_of(entry: Entry, strength: int) -> str:
    """``ENTRY@STRENGTH``, or the entry's name if there is one strength."""
    return entry.name if len(entry.strengths) == 1 else f"{entry.name}@{strength}"


def channels_of(catalogue: Catalogue, condition: Condition) -> tuple[Channel, ...]:
    """Through which channels a condition is perceived."""
    names = {entry.name: entry for entry in catalogue}
    return names[condition.entry].channels if condition.entry in names else ()
