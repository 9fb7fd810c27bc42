"""Give another environment the packages of this one that its lock names in the same version, as hard links.

    .venv-test/bin/python environments/share.py TARGET LOCK [NAME ...]

What both environments hold, torch above all, then lies on the disk once and is neither downloaded nor unpacked again.
NAMEs are shared in whatever version is installed here. What is left out, `pip install -r LOCK` brings: so the target
must be a new, empty environment of the same Python. Console scripts are not shared: they name their environment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement


def pinned(lock: Path) -> Iterator[Requirement]:
    """The requirements of a lock file that hold for this Python on this platform."""
    for line in lock.read_text("utf-8").splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def share(target: Path, lock: Path, names: list[str]) -> list[str]:
    """Link packages of this environment into ``target``; their names."""
    site = target / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    if not site.is_dir():
        sys.exit(f"{target} is no environment of Python 3.{sys.version_info.minor}")
    shared = []
    for requirement in [*pinned(lock), *map(Requirement, names)]:
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        if requirement.specifier.contains(found.version, prereleases=True):
            _link(found, site)
            shared.append(requirement.name)
    return shared


def _link(found: Distribution, site: Path) -> None:
    here = Path(sysconfig.get_path("purelib"))
    for file in found.files or []:
        if file.parts[0] == ".." or file.suffix == ".pyc":
            continue
        bytecode = Path(cache_from_source(str(file))) if file.suffix == ".py" else None
        for path in (file, bytecode):
            if path is not None and (here / path).is_file():
                place = site / path
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(here / path, place)
                except OSError:  # another disk, or one that knows no links
                    shutil.copy2(here / path, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    shared = share(arguments.target, arguments.lock, arguments.names)
    print(f"{len(shared)} packages of {sys.prefix} are shared by {arguments.target}")


if __name__ == "__main__":
    main()
