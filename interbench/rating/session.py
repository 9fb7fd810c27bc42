"""A rater's way through a study: where they are, what they are shown, what they may say. The ledger is the state."""

from __future__ import annotations

from typing import Any

from interbench.base.errors import UsageError
from interbench.domain.ratings import WHOLE, Answer, Showing
from interbench.rating.intake import read_answer, read_closing
from interbench.rating.page import answers_payload, showing_payload, study_payload
from interbench.rating.study import Study
from interbench.store.ratings import Ratings


class Session:
    """One rater of a study that is open for writing."""

    def __init__(self, ratings: Ratings, study: Study, rater: str, showings: dict[str, Showing]) -> None:
        self._ratings = ratings
        self._study = study
        self.rater = rater
        self._order = [showings[name] for name in ratings.order(rater)]
        self._assigned = {showing.id: showing for showing in self._order}
        self.clips = frozenset(clip.name for s in self._order for side in s.sides for clip in side.clips)
        """Names of the files that this rater may fetch."""

    def study(self) -> dict[str, Any]:
        """What stays the same throughout."""
        return study_payload(self._study, self.rater, self._order)

    def position(self) -> int:
        """Of the first showing that is not closed; the number of all when there is none."""
        done = self._ratings.done(self.rater)
        return next((n for n, showing in enumerate(self._order) if showing.id not in done), len(self._order))

    def at(self, position: int | None = None) -> dict[str, Any]:
        """The showing at a position with what was said of it: of the rater's own, or one before it to be changed.

        Raises:
            UsageError: it lies ahead.
        """
        here = self.position()
        if position is None:
            position = here
        if not 0 <= position <= here:
            raise UsageError(f"Number {position + 1} comes later.")
        told: dict[str, Any] = {"position": position, "reached": here, "showing": None}
        if position < len(self._order):
            showing = self._order[position]
            held = {a.dimension: a for a in self._ratings.answers(self.rater) if a.showing == showing.id}
            told |= {"showing": showing_payload(showing), "answers": answers_payload(held)}
        return told

    def record(self, data: Any) -> Answer:
        """Keep an answer; it is on the disk when this returns. The same again changes nothing.

        Raises:
            UsageError: it can't be taken, and why.
        """
        answer = read_answer(self._study, self.rater, self._assigned, data, now=True)
        place = self._order.index(self._assigned[answer.showing])
        if place > self.position():
            raise UsageError("This one comes later.")
        if answer.dimension == WHOLE and not answer.skipped:
            given = {a.dimension for a in self._ratings.answers(self.rater) if a.showing == answer.showing}
            if lacking := [key for key in self._assigned[answer.showing].dimensions if key not in given]:
                raise UsageError(f"Not yet answered: {', '.join(lacking)}.")
        self._ratings.record([answer])
        return answer

    def close(self, data: Any) -> None:
        """Keep what the rater says at the end.

        Raises:
            UsageError: it can't be taken.
        """
        self._ratings.close(read_closing(self.rater, data))
