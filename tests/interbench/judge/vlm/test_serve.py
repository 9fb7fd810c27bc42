"""Starting judge servers: the right command per GPU, waiting, ending, and what is said when something is missing."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from ended_program import Program
from known import known

from interbench.base.errors import JudgeError, UsageError
from interbench.base.gpus import Gpu
from interbench.judge.vlm import serve
from interbench.judge.vlm.frames import Sampling
from interbench.judge.vlm.serve import ServerPlan, Servers, command, find_judge_gpus, plan

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
    with pytest.raises(JudgeError, match="CUDA_VISIBLE_DEVICES"):
        plan([H200, T4])
    with pytest.raises(JudgeError, match=r"NVIDIA GB10.*--model"):
        plan([Gpu(0, "NVIDIA GB10", None)])


def test_different_gpus_serve_one_judge() -> None:
    """Servers of different checkpoints or contexts would be different judges."""
    for gpus, model, context in (
        ([H200, H100], "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "262144"),
        ([H200, L40, H100], "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "65536"),
    ):
        plans = plan(gpus)
        assert {(one.argv[2], value(one.argv, "--max-model-len")) for one in plans} == {(model, context)}
        assert {one.env["CUDA_DEVICE_ORDER"] for one in plans} == {"PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("gpu1", "http://gpu1:8000"),
    ],
)
def test_every_address_can_be_dialled(host: str, url: str) -> None:
    (one,) = plan([H200], host=host)
    assert one.url == url and value(one.argv, "--host") == host


@pytest.mark.parametrize("port", [0, -1, 65_535, 70_000])
def test_ports_that_do_not_exist_are_refused(port: int) -> None:
    with pytest.raises(UsageError, match="--port"):
        plan([H200, H200], port=port)


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
    assert [(gpu.index, gpu.name, round(known(gpu.memory_gib))) for gpu in find_judge_gpus()] == [
        (0, "NVIDIA H200", 140),
        (1, "NVIDIA H100 80GB HBM3", 80),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.index for gpu in find_judge_gpus()] == [1]


SMI = """
case "$1" in
  *uuid*) echo '0, GPU-aaaa1111-0000'; echo '1, GPU-bbbb2222-0000' ;;
  *) echo '0, NVIDIA H200, 143771'; echo '1, NVIDIA H200, 143771' ;;
esac
"""


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        ("0,1", [0, 1]),
        ("1,0", [1, 0]),
        ("", []),
        ("-1", []),
        ("GPU-bbbb2222-0000", [1]),
        ("GPU-bb", [1]),
        ("GPU-bb,0", [1, 0]),
    ],
)
def test_only_visible_gpus_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, indices: list[int]
) -> None:
    fake_smi(tmp_path, monkeypatch, SMI)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in find_judge_gpus()] == indices


@pytest.mark.parametrize("visible", ["7", "GPU-cccc", "MIG-aaaa1111", "0,x"])
def test_a_gpu_that_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    fake_smi(tmp_path, monkeypatch, SMI)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(JudgeError, match=visible.rpartition(",")[2]):
        find_judge_gpus()


def test_a_driver_without_gpus_and_memory_that_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, monkeypatch, "echo 'No devices were found'; exit 6")
    assert find_judge_gpus() == []
    fake_smi(tmp_path, monkeypatch, "echo '0, NVIDIA GB10, [N/A]'")
    assert find_judge_gpus() == [Gpu(0, "NVIDIA GB10", None)]


def test_a_broken_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, monkeypatch, "echo 'no devices' >&2; exit 9")
    with pytest.raises(JudgeError, match="driver"):
        find_judge_gpus()


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


def script_plan(script: str) -> ServerPlan:
    port = free_port()
    return ServerPlan([sys.executable, "-c", script, "--port", str(port)], f"http://127.0.0.1:{port}")


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


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    first = script_plan(HEALTHY)
    servers = Servers([first, ServerPlan([str(tmp_path / "none")], "http://127.0.0.1:9")], tmp_path)
    with pytest.raises(JudgeError, match="can't be started"), servers:
        pytest.fail("entered")
    with pytest.raises(httpx.ConnectError):
        httpx.get(first.url, trust_env=False)


def write_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A machine with one GPU and this program as vLLM."""
    vllm = folder / "vllm"
    vllm.write_text(f"#!{sys.executable}\n{script}")
    vllm.chmod(0o755)
    fake_smi(folder, monkeypatch, "echo '0, NVIDIA H200, 143771'")


def fake_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Likewise for this process; returns its folder for temporary files."""
    write_vllm(folder, monkeypatch, script)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    temporary = folder / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = fake_vllm(tmp_path, monkeypatch, HEALTHY)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JudgeError, match=f"Port {port} is in use"):
            serve.run(media=tmp_path / "runs", port=port, tell=said.append)
    with pytest.raises(JudgeError, match="--host"):
        serve.run(media=tmp_path / "runs", host="192.0.2.1", port=port, tell=said.append)
    assert said == [] and list(temporary.iterdir()) == []


def test_the_output_of_a_server_that_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    causes = "raise SystemExit('ValueError: no room\\nRuntimeError: Engine failed. See root cause above.')"
    temporary = fake_vllm(tmp_path, monkeypatch, causes)
    with pytest.raises(JudgeError, match="ValueError: no room") as caught:
        serve.run(media=tmp_path / "runs", port=free_port(), tell=lambda text: None)
    (log,) = temporary.glob("*/*.log")
    assert str(log) in str(caught.value)


INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def judge_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Program]]:
    """`interbench judge-server` on a machine with one GPU, and with a script as vLLM."""
    programs: list[Program] = []

    def start(vllm: str, *options: str, ignored: tuple[signal.Signals, ...] = ()) -> Program:
        write_vllm(tmp_path, monkeypatch, vllm)
        # vLLM is looked for beside the interpreter.
        run = f"import sys\nsys.executable = {str(tmp_path / 'python')!r}\nfrom interbench.__main__ import main\nmain()"
        arguments = ["-c", run, "judge-server", "--media", str(tmp_path / "runs"), *options]
        programs.append(Program(arguments, tmp_path / "program", ignored=ignored))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


@pytest.mark.parametrize(
    ("number", "ignored"),
    [(INT, ()), (TERM, ()), (HUP, ()), (TERM, (INT,))],
    ids=["INT", "TERM", "HUP", "TERM-INT-ignored"],
)
def test_the_whole_command(
    judge_server: Callable[..., Program],
    tmp_path: Path,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
) -> None:
    """GPU found, server started, address said, and an end without traces when it is told to stop."""
    port = free_port()
    program = judge_server(HEALTHY, "--port", str(port), ignored=ignored)
    program.wait_for(lambda: f"--judge http://127.0.0.1:{port}\n" in program.output)
    assert (tmp_path / "runs").is_dir()
    program.signal(number)
    end = program.end()
    assert (end.status, end.errors) == (0, "")
    assert end.output.splitlines()[-1] == "The judge's servers have been stopped."
    assert program.leaves_nothing(), program.left()


def test_output_before_health_is_kept_when_told_to_stop(judge_server: Callable[..., Program]) -> None:
    program = judge_server(
        "print('loading weights', flush=True)\nimport signal; signal.pause()", "--port", str(free_port())
    )
    program.wait_for(lambda: "loading" in "".join(log.read_text() for log in program.temporary.glob("*/*.log")))
    program.signal(TERM)
    end = program.end()
    assert (end.status, end.errors) == (0, "")
    (folder,) = program.temporary.iterdir()
    assert "before they were healthy" in end.output and str(folder) in end.output
    (log,) = folder.iterdir()
    assert log.read_text() == "loading weights\n"


def test_a_server_that_does_not_end_is_killed_when_told_again(judge_server: Callable[..., Program]) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, lambda number, frame: print('no', flush=True))\n" + HEALTHY
    program = judge_server(stubborn, "--port", str(free_port()))
    program.wait_for(lambda: "--judge" in program.output)
    while program.process.poll() is None:
        program.signal(INT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(0.5)
    end = program.end()
    assert end.status == 130
    assert end.errors == "interbench: interrupted; the same command again goes on from here.\n"
    assert program.leaves_nothing(), program.left()
