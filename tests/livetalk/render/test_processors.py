"""Nothing depends on the processor: held to each level that it has, half precision stays near to float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import processor_levels
import pytest

HERE = Path(__file__).parent
LEVELS = processor_levels.offered() or ["DEFAULT"]

PRECISE = (
    HERE / "encoders" / "test_speech.py",
    HERE / "encoders" / "test_text.py",
    HERE / "model" / "test_forward.py",
    HERE / "model" / "test_generation.py",
    HERE / "test_vae.py",
    HERE.parent / "tools" / "test_parity.py",
    HERE.parent / "tools" / "test_parity_dimensions.py",
    HERE.parent / "thinkers" / "test_omni_codec.py",
)


def test_half_precision_is_near_at_every_level(golden_folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, processor_levels.__file__, str(golden_folder), json.dumps(LEVELS)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.returncode, run.stderr
    found = {line["level"]: line["errors"] for line in map(json.loads, run.stdout.splitlines())}
    assert list(found) == LEVELS
    for level, errors in found.items():
        assert len(errors) == 7
        far = {what: error for what, error in errors.items() if not error < (0.1 if "fixtures" in what else 0.01)}
        assert not far, level


@pytest.mark.soak
@pytest.mark.parametrize("level", LEVELS)
def test_parity_and_precision_at_every_level(level: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", *map(str, PRECISE)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": level},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.returncode, run.stdout[-5000:]
