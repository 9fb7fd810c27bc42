"""Say how the environment that runs this differs from a lock: `make newest` ends with it.

.venv-newest/bin/python environments/differences.py environments/test.txt
"""

from __future__ import annotations

import argparse
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from share import pinned

#: What every environment has beside its lock: its installer, torch, and the project.
BESIDE = {"pip", "torch", "interbench"}


def differences(lock: Path) -> list[str]:
    """One line per package: locked version and installed one."""
    locked = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in pinned(lock)}
    here = {canonicalize_name(found.name): found.version for found in distributions()}
    return [
        f"{name:28} {locked.get(name, 'not locked'):>18} -> {here.get(name, 'not installed')}"
        for name in sorted((locked.keys() | here.keys()) - BESIDE)
        if locked.get(name) != here.get(name)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lock", type=Path)
    lock = parser.parse_args().lock
    lines = differences(lock)
    print("\n".join([*lines, f"{len(lines)} packages differ from {lock}"]))


if __name__ == "__main__":
    main()
