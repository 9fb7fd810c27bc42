"""How far every node is: what runs there, what it is at, what it has done and what was lost with it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What one kind of worker does on one node: renderers of a system, judge servers, transcribers."""

    well: int = 0
    """Workers that are there and well."""
    live: int = 0
    """Conversations (of transcribers: batches of clips) that they are at."""
    done: int = 0
    lost: int = 0
    """Workers that were lost there."""

    def __str__(self) -> str:
        return f"{self.well} well, {self.live} live, {self.done} done, {self.lost} lost"


@dataclass(slots=True)
class Standing:
    """The tallies of all nodes. What a worker did stays with the node on which it did it, wherever it is now."""

    _tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)

    def of(self, node: str, kind: str) -> Tally:
        """The tally of a kind of worker on a node, to be counted on."""
        return self._tallies.setdefault(node, {}).setdefault(kind, Tally())

    def lines(self) -> dict[str, str]:
        """A line for every node that has had work, by its name."""
        return {
            node: f"{node}: " + "; ".join(f"{kind} {tally}" for kind, tally in sorted(kinds.items()))
            for node, kinds in sorted(self._tallies.items())
        }
