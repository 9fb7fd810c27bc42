"""``interbench merge``: shards of one plan into one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from interbench.pipeline.merge import Merged, merge_runs
from interbench.report.grid import visible
from interbench.report.notes import counted


def merge(folders: Sequence[Path], out: Path, *, partial: bool) -> None:
    """Merge, and say what was done."""
    made = merge_runs(folders, out, partial=partial)
    for line in lines_of(made):
        sys.stdout.write(visible(line) + "\n")
    left = [str(folder / "single") for folder in folders if (folder / "single").is_dir()]
    if left:
        sys.stdout.write(visible(f"left behind: {', '.join(left)}; measure the merged run anew\n"))


def lines_of(made: Merged) -> list[str]:
    """What was done, in a few lines."""
    numbers = made.sharding.numbers
    held = f"{counted(len(numbers), 'shard')} of {made.sharding.of}, {counted(made.conversations, 'conversation')}"
    if made.before:
        lines = [f"{made.folder} holds the same already: {held}"]
    else:
        files = [f"{made.files.linked} files linked"] if made.files.linked else []
        files += [f"{made.files.copied} copied"] if made.files.copied else []
        lines = [f"{made.folder}: {held}" + (f"; {', '.join(files)}" if files else "")]
    return lines + [f"missing: {what}" for what in made.unfinished]
