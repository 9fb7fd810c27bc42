"""Everything that is derived from the texts of a set, in one go: ``python -m interbench.scenarios.refresh FOLDER``.

Speaks the lines that are new or changed and names the recordings in the scenario files, puts the canary where it is
missing, brings the datasheet's figures and digests up to date, and says what ``interbench validate`` finds. FOLDER
holds ``README.md`` and the set, or its versions (``scenarios`` of this repository).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from interbench.base import termination
from interbench.base.errors import InterbenchError
from interbench.base.progress import make_progress
from interbench.scenarios.catalogue import find_set
from interbench.scenarios.datasheet import generated, latest
from interbench.scenarios.sets import load_set, validate_set
from interbench.scenarios.user_audio import render


def refresh(folder: Path) -> int:
    """Do it and print what was done; how many errors the set has.

    Raises:
        InterbenchError: the set can't be read or spoken.
        OSError: a file can't be read or written.
    """
    place = find_set(latest(folder))
    with make_progress() as progress:
        spoken = render(place.root, progress=progress)
    sys.stdout.write(f"{spoken} recordings made.\n")
    for name, text in generated(folder).items():
        (folder / name).write_text(text, encoding="utf-8")
    for file in place.files:
        sys.stdout.write(f"{file.name}: {load_set(file).digest}\n")
    defects = validate_set(place.root)
    errors = [defect for defect in defects if defect.level == "error"]
    for defect in errors:
        sys.stdout.write(f"{defect}\n")
    sys.stdout.write(
        f"{len(errors)} errors, {len(defects) - len(errors)} warnings (interbench validate {place.root}).\n"
    )
    return len(errors)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m interbench.scenarios.refresh", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("folder", type=Path, help="folder with README.md and a set, or its versions")
    try:
        return 1 if refresh(parser.parse_args(argv).folder) else 0
    except (InterbenchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    termination.heed("Interrupted; the same command again goes on from here.")
    sys.exit(main())
