"""A system, a transcriber and a judge in the user's folder, as docs/your-own-system.md, asr.md, judge.md have them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import harness_kit
import pytest
import warm

ROOT = Path(__file__).resolve().parents[3]
MODEL = """
async def hear(samples):
    return f"heard {len(samples)} samples"
async def score(conversation, dimension, strictness):
    return float(strictness) if dimension == "SR" else None
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the three classes of the documentation, and models for two of them."""
    for page, module in (("asr.md", "my_ears"), ("judge.md", "my_judge"), ("your-own-system.md", "my_avatar")):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"# {module}.py" in block]
        (tmp_path / f"{module}.py").write_text(code if module == "my_avatar" else "import my_model\n" + code)
    (tmp_path / "my_model.py").write_text(MODEL)
    harness_kit.write_set(tmp_path / "set", count=1, turns=1)
    return tmp_path


def interbench(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -P, as the installed command: the current folder is on the path only because the harness puts it there.
    path = os.pathsep.join([str(Path(harness_kit.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return warm.interbench(*arguments, cwd=home, env={**os.environ, "PYTHONPATH": path}, safe_path=True)


def test_they_are_told_their_options_and_stay_with_the_run(home: Path) -> None:
    done = interbench(
        home, "run", "--systems", "it=my_avatar:MyAvatar", "--scenarios", "set", "--out", "run", "--quiet",
        "--transcriber", "my_ears:Mine", "--set", "transcriber.beams=8",
        "--judge", "my_judge:Mine", "--set", "my_judge:Mine.strictness=5", "--set", "it.weights=w/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for options, score in (((), 5.0), (("--set", "judge.strictness=7"), 7.0)):
        judged = interbench(home, "judge", "run", "--quiet", *options)
        assert judged.returncode == 0, judged.stderr
        code = (
            "import interbench, json; run = interbench.read_run('run'); "
            "scored = run.scores[run.scores.score.notna()]; "
            "print(json.dumps([run.transcripts.text[0], list(scored.dimension), list(scored.score)]))"
        )
        read = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
        text, dimensions, scores = json.loads(read.stdout)
        assert re.fullmatch(r"heard \d+ samples", text) and dimensions == ["SR"] and scores == [score]
    manifest = json.loads((home / "run" / "manifest.json").read_text())
    assert manifest["settings"]["transcriber_options"] == {"beams": 8}
    assert manifest["settings"]["judge_options"] == {"strictness": 7}


def test_a_class_of_another_kind_is_refused(home: Path) -> None:
    done = interbench(home, "run", "--dry-run", "--judge", "my_ears:Mine")
    assert done.returncode == 2 and "has to be a class derived from Judge" in done.stderr
