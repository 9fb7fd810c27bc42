"""What may go wrong with a live picture and its sound while an answer is nonetheless given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from interbench.base.foreign import number


class IncidentKind(StrEnum):
    """Kinds that are counted in the report."""

    FREEZE = "freeze"
    FROZEN_PICTURE = "frozen_picture"
    LATE_PICTURE = "late_picture"
    NO_PICTURE = "no_picture"
    LOST_SOUND = "lost_sound"
    LOST_FIRST_SOUND = "lost_first_sound"
    NO_ANSWER = "no_answer"
    SILENCE_AFTER_INTERRUPTION = "silence_after_interruption"
    TALKS_ON = "talks_on"
    CONNECTION_LOST = "connection_lost"


MEANINGS: Mapping[IncidentKind, str] = {
    IncidentKind.FREEZE: "no new picture came for longer than W3C's webrtc-stats calls a freeze, while the answer ran",
    IncidentKind.FROZEN_PICTURE: "pictures came, but the same one again and again for a second or more of speech",
    IncidentKind.LATE_PICTURE: "pictures came more than 0.2 s later than their own time stamps say",
    IncidentKind.NO_PICTURE: "not one picture came during the answer",
    IncidentKind.LOST_SOUND: "a part of the sound never came",
    IncidentKind.LOST_FIRST_SOUND: "the beginning of the speech never came",
    IncidentKind.NO_ANSWER: "nothing was heard after the user's line",
    IncidentKind.SILENCE_AFTER_INTERRUPTION: "nothing was heard after a line with which the user had interrupted",
    IncidentKind.TALKS_ON: "the avatar went on speaking after it was interrupted",
    IncidentKind.CONNECTION_LOST: "the connection ended before the answer did",
}


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong during an answer."""

    kind: IncidentKind
    at_s: float = 0.0
    """Seconds after the beginning of the clip; of the user's line, if there is none."""
    seconds: float | None = None
    """How long it lasted; None where that means nothing."""
    note: str = ""

    def kept(self) -> dict[str, Any]:
        """As JSON types."""
        facts: dict[str, Any] = {"kind": self.kind.value, "at_s": round(self.at_s, 3)}
        if self.seconds is not None:
            facts["seconds"] = round(self.seconds, 3)
        return {**facts, "note": self.note} if self.note else facts


def kept_incidents(detail: Mapping[str, Any]) -> tuple[Incident, ...]:
    """Those of a record; entries that no version has written are left out."""
    entries = detail.get("incidents")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return ()
    known = {kind.value for kind in IncidentKind}
    return tuple(
        Incident(
            IncidentKind(entry["kind"]),
            number(entry.get("at_s")) or 0.0,
            number(entry.get("seconds")),
            str(entry.get("note", "")),
        )
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("kind") in known
    )
