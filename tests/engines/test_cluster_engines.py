"""Real engines on the nodes of a real Ray: livetalk renders, FunASR listens, vLLM judges, all at tiny size."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cluster_kit
import pytest

from interbench.domain.records import Outcome
from interbench.pipeline.placement.check import check_cluster
from interbench.store.run_folder import Run

pytest.importorskip(
    "ray", reason="NOT TESTED WITHOUT RAY: Ray has no package for this platform. pip install 'interbench[ray]'."
)
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.soak,
    pytest.mark.skipif(
        importlib.util.find_spec("funasr") is None,
        reason="NOT TESTED ON THE REAL ENGINE: FunASR is not installed; `make test` installs the extra `asr`.",
    ),
]


def settings(out: Path, models: Path, served: dict[str, Any]) -> str:
    """A settings file. What is JSON here is TOML, too."""
    tables: dict[str, dict[str, Any]] = {
        "": {
            **{"systems": ["livetalk"], "scenarios": "starter", "out": str(out), "transcriber": "funasr"},
            # One each: else the first that is ready has both.
            **{"renderers": 2, "concurrency": 1},
        },
        "system.livetalk": {"size": "tiny", "serve": ["--thinker", "script"]},
        "transcriber_options": {
            **{f"{name}model": str(models / kind) for name, kind in (("", "asr"), ("vad_", "vad"), ("punc_", "punc"))},
            "device": "cpu",
        },
        "judge_options": {"max_tokens": 16, "force_box": True},
        "judge_server": served,
    }
    lines = []
    for table, values in tables.items():
        lines += [f"[{table}]"] if table else []
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def test_real_engines_on_two_nodes(
    checkpoints: Path, models: Path, vllm_bin: Path, vllm_env: dict[str, str], on_a_cpu: list[str], tmp_path: Path
) -> None:
    """Two conversations of the starter set, a livetalk server on either node; the judge is a random one."""
    config = tmp_path / "run.toml"
    program = ["env", "--chdir", str(checkpoints / "dense"), *(f"{name}={value}" for name, value in vllm_env.items())]
    served = {"model": "./tiny-qwen3vl", "extra": on_a_cpu, "command": [*program, str(vllm_bin / "vllm")]}
    config.write_text(settings(tmp_path / "run", models, served))
    with cluster_kit.two_nodes() as cluster:
        findings = asyncio.run(check_cluster(cluster.address))
        assert not [str(finding) for finding in findings if finding.level == "wrong"]
        command = [sys.executable, "-m", "interbench", "run", "--config", str(config), "--limit", "2", "--quiet"]
        command += ["--cluster", cluster.address, "--judge-servers", "1x0", "--ears", "1x0"]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
    with Run(tmp_path / "run", write=False) as run:
        played = run.exchanges()
        (ear,), (judge,) = run.identities("transcriber"), run.identities("judge")
        transcripts = [run.transcripts(ear, one.system, one.scenario) for one in played]
        verdicts = [verdict for _, verdict in run.verdicts(judge)]
    assert len(played) >= 6 and {one.outcome for one in played} == {Outcome.COMPLETED}
    assert {one.detail["measured_at"] for one in played} == {"node"}
    assert len({one.detail["node"] for one in played}) == 2
    assert all(one.facts is not None and one.facts.audible for one in played)
    assert all(transcripts)
    assert len({(verdict.scenario, verdict.dimension) for verdict in verdicts}) == 18
    assert all(verdict.score is not None or verdict.missing for verdict in verdicts)
    assert any(verdict.score is not None for verdict in verdicts)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert len(manifest["cluster"]["nodes"]) == 2 and manifest["cluster"]["at_the_head"] == []
    logs = {path.name: path.read_text() for path in (tmp_path / "run/logs").glob("*.log")}
    assert sum(bool(re.search(r"-livetalk-\d\.log$", name)) for name in logs) == 2
    (of_the_judge,) = (text for name, text in logs.items() if name.endswith("judge-0.log"))
    assert "vllm" in of_the_judge.lower()
    assert re.search(r"transcribers 1 well, 0 live, \d+ done, 0 lost", done.stderr)
    assert re.search(r"judge 1 well, 0 live, 2 done, 0 lost", done.stderr)
