"""Find torch's CPU build: `python environments/cpu_torch.py torch==2.13.0` prints what pip installs it from.

Asks the index that pip is configured for, then PyTorch's own for CPUs, and reads of each only what the wheel says that
it needs: a CUDA build needs packages of several GB. Where only such a build is to be had, the exit status is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from packaging.requirements import Requirement

OWN_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA = ("nvidia-", "cuda-")
PATIENCE_S = "10"


def wheel(torch: str, *options: str) -> dict[str, Any] | None:
    """What the wheel that pip would take says of itself; None if there is none, or no index answers."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--no-deps", "--ignore-installed", "--only-binary", ":all:", "--report", "-", *options, torch]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None
    metadata: dict[str, Any] = json.loads(done.stdout)["install"][0]["metadata"]
    return metadata


def is_for_cpu(metadata: dict[str, Any]) -> bool:
    """Whether nothing that it needs on this machine is part of CUDA."""
    needed = [Requirement(line) for line in metadata.get("requires_dist", ())]
    here = [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return not any(name.startswith(CUDA) for name in here)


def main() -> int:
    torch = sys.argv[1]
    for index in ("", f"--extra-index-url {OWN_INDEX}"):
        metadata = wheel(torch, *index.split(), *(("--retries", "1", "--timeout", PATIENCE_S) if index else ()))
        if metadata is not None and is_for_cpu(metadata):
            print(f"{index}\ntorch=={metadata['version']}".strip())
            return 0
    print(f"no CPU build of {torch} is to be had here; a CUDA build would be several GB", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
