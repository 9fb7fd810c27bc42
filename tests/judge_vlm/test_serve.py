"""Starting judge servers: the right command per GPU, waiting, ending, and what is said when something is missing."""

from __future__ import annotations

import json
import shlex
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from interbench.errors import JudgeError
from interbench.judge import serve
from interbench.judge.frames import Sampling
from interbench.judge.serve import Gpu, Plan, Servers, command, find_gpus, plan

H200, H100, L40, T4 = (
    Gpu(0, "NVIDIA H200", 139.7),
    Gpu(1, "NVIDIA H100 80GB HBM3", 79.6),
    Gpu(2, "NVIDIA L40S", 44.99),
    Gpu(3, "Tesla T4", 15.0),
)

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def value(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


@pytest.mark.parametrize(
    ("gpu", "model", "context"),
    [
        (H200, "Qwen/Qwen3-VL-30B-A3B-Instruct", "262144"),
        (H100, "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "262144"),
        (L40, "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "65536"),
    ],
)
def test_command_fits_the_gpu(gpu: Gpu, model: str, context: str) -> None:
    argv = command(gpu, media=Path("/data/runs"))
    assert argv[:3] == ["vllm", "serve", model]
    assert value(argv, "--max-model-len") == context
    assert ("--dtype" in argv) == (not model.endswith("FP8"))
    assert json.loads(value(argv, "--media-io-kwargs")) == {"video": {"fps": 30, "max_frames": 32}}
    processor = json.loads(value(argv, "--mm-processor-kwargs"))
    assert processor == {"do_sample_frames": False, "cap_pixels_per_frame": True, "max_video_tokens": 576}
    assert value(argv, "--allowed-local-media-path") == "/data/runs"


def test_command_follows_other_settings() -> None:
    argv = command(H200, sampling=Sampling(16, 512), model="me/mine", port=9, extra=["--max-num-seqs", "4"])
    assert argv[2] == "me/mine" and value(argv, "--port") == "9" and argv[-2:] == ["--max-num-seqs", "4"]
    assert json.loads(value(argv, "--media-io-kwargs"))["video"]["max_frames"] == 16
    assert json.loads(value(argv, "--mm-processor-kwargs"))["max_video_tokens"] == 256
    assert "--allowed-local-media-path" not in argv


def test_too_small_a_gpu_is_named() -> None:
    with pytest.raises(JudgeError, match="Tesla T4"):
        command(T4)


def test_one_server_per_gpu() -> None:
    plans = plan([H200, H100], port=8100)
    assert [one.url for one in plans] == ["http://127.0.0.1:8100", "http://127.0.0.1:8101"]
    assert [one.env["CUDA_VISIBLE_DEVICES"] for one in plans] == ["0", "1"]
    assert value(plans[1].argv, "--port") == "8101"
    assert shlex.split(plans[0].shell())[-len(plans[0].argv) :] == plans[0].argv


def fake_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, monkeypatch, "echo '0, NVIDIA H200, 143771'; echo '1, NVIDIA H100 80GB HBM3, 81559'")
    assert [(gpu.index, gpu.name, round(gpu.memory_gib)) for gpu in find_gpus()] == [
        (0, "NVIDIA H200", 140),
        (1, "NVIDIA H100 80GB HBM3", 80),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.index for gpu in find_gpus()] == [1]


def test_a_broken_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, monkeypatch, "echo 'no devices' >&2; exit 9")
    with pytest.raises(JudgeError, match="driver"):
        find_gpus()


def test_no_gpu_is_said_with_what_to_do() -> None:
    with pytest.raises(JudgeError, match="No NVIDIA GPU") as caught:
        plan([])
    assert "--judge" in str(caught.value)


def test_without_a_gpu_the_published_command_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    serve.run(media=tmp_path, only_print=True, tell=said.append)
    assert "H200" in said[0] and "Qwen/Qwen3-VL-30B-A3B-Instruct --host" in said[1]


def test_no_vllm_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(JudgeError, match=r"interbench\[judge\]"):
        serve.find_vllm()


def test_print_only_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, monkeypatch, "echo '0, NVIDIA H200, 143771'")
    said: list[str] = []
    serve.run(media=tmp_path / "runs", only_print=True, tell=said.append)
    assert len(said) == 1 and "vllm serve Qwen/Qwen3-VL-30B-A3B-Instruct" in said[0]
    assert not (tmp_path / "runs").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def script_plan(script: str) -> Plan:
    port = free_port()
    return Plan([sys.executable, "-c", script, "--port", str(port)], f"http://127.0.0.1:{port}")


def test_servers_are_waited_for_and_ended(tmp_path: Path) -> None:
    plans = [script_plan(HEALTHY), script_plan(HEALTHY)]
    told: list[str] = []
    with Servers(plans, tmp_path) as servers:
        servers.wait_healthy(60, told.append)
        assert sorted(told) == sorted(one.url for one in plans)
        assert "listening" in servers.log(plans[0]).read_text()
    for one in plans:
        with pytest.raises(httpx.ConnectError):
            httpx.get(one.url)


def test_a_server_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    dying = script_plan("import sys; print('INFO starting'); sys.exit('RuntimeError: out of memory')")
    servers = Servers([dying], tmp_path)
    with servers, pytest.raises(JudgeError, match="RuntimeError: out of memory") as caught:
        servers.wait_healthy(60)
    assert str(servers.log(dying)) in str(caught.value)


def test_a_server_that_is_never_healthy_is_given_up(tmp_path: Path) -> None:
    servers = Servers([script_plan("import signal; signal.pause()")], tmp_path)
    with servers, pytest.raises(JudgeError, match="not healthy"):
        servers.wait_healthy(0.1)


def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPU found, server started, address said, and an end when the server ends."""
    vllm = tmp_path / "vllm"
    vllm.write_text(f"#!{sys.executable}\n{HEALTHY}")
    vllm.chmod(0o755)
    fake_smi(tmp_path, monkeypatch, "echo '0, NVIDIA H200, 143771'")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    said: list[str] = []
    ended = threading.Event()

    def tell(text: str) -> None:
        said.append(text)
        if text.startswith("--judge"):
            ended.set()
            raise KeyboardInterrupt

    port = free_port()
    serve.run(media=tmp_path / "runs", port=port, tell=tell)
    assert ended.is_set()
    assert f"--judge http://127.0.0.1:{port}" in said
    assert said[-1] == "The judge's servers have been stopped."
    assert (tmp_path / "runs").is_dir()
