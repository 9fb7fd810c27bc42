"""`livetalk doctor`, and `livetalk download` from a hub on the loopback interface."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import livetalk
import pytest
from chat_stub import ChatStub
from livetalk.base.errors import OptionError
from livetalk.cli.main import app, main
from livetalk.render.checkpoint import CheckpointFiles
from livetalk.render.omniavatar.files import OMNIAVATAR, OmniAvatarFiles
from livetalk.render.speed import require_usable
from livetalk.tools.doctor import Finding, examine, ready, versions_that_matter
from livetalk.tools.download import REPOSITORIES, DownloadError
from livetalk.tools.download import download as fetch
from packaging.requirements import Requirement
from tiny_checkpoints import TinyCheckpoints
from typer.testing import CliRunner

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "GAIR/LiveTalk-1.3B-V0.1": ("model.safetensors", "README.md", "assets/video.mp4"),
    "Wan-AI/Wan2.1-T2V-1.3B": (
        "models_t5_umt5-xxl-enc-bf16.pth",
        "Wan2.1_VAE.pth",
        "google/umt5-xxl/tokenizer.json",
        "diffusion_pytorch_model.safetensors",
    ),
    "facebook/wav2vec2-base-960h": (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
    ),
    "OmniAvatar/OmniAvatar-1.3B": ("pytorch_model.pt", "config.json"),
}
UNWANTED = {"assets/video.mp4", "diffusion_pytorch_model.safetensors", "pytorch_model.bin", "tf_model.h5"}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download asks for."""

    protocol_version = "HTTP/1.1"
    url: str
    log: list[str]
    absent: set[str]
    closing: bool

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.log.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
            return self.listing(found[1], found[2])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            if self.closing and self.log.count(self.log[-1]) > 1:
                return self.refuse(403)
            rows = [
                {"type": "file", "path": name, "size": len(self.content(found[1], name)), "oid": "0" * 40}
                for name in FILES[found[1]]
            ]
            return self.send(json.dumps(rows).encode(), "application/json", {})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            content = self.content(found[1], found[3])
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.commit(found[2])}
            return self.send(content, "application/octet-stream", headers, body)
        return self.refuse()

    def listing(self, repository: str, revision: str) -> None:
        if repository in self.absent or repository not in FILES:
            return self.refuse()
        siblings = [{"rfilename": name} for name in FILES[repository]]
        answer = {"id": repository, "sha": self.commit(revision), "siblings": siblings}
        return self.send(json.dumps(answer).encode(), "application/json", {})

    @staticmethod
    def commit(revision: str) -> str:
        return revision if re.fullmatch(r"[0-9a-f]{40}", revision) else COMMIT

    @staticmethod
    def content(repository: str, name: str) -> bytes:
        return f"{repository} {name}".encode()

    def refuse(self, status: int = 404) -> None:
        headers = {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
        self.send(b'{"error": "Repository not found"}', "application/json", headers, status=status)

    def send(self, content: bytes, kind: str, headers: dict[str, str], body: bool = True, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[type[Hub]]:
    handler: type[Hub] = type("Handler", (Hub,), {"log": [], "absent": set(), "closing": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


Told = subprocess.CompletedProcess[str]


def program(hub: type[Hub], *arguments: str) -> Told:
    """The command in a process of its own, which the environment tells where the hub is."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
        "PYTHONPATH": os.pathsep.join([str(Path(livetalk.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        [sys.executable, "-m", "livetalk", "download", *arguments], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def download(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Told]]:
    """The same in this process, where the hub's client has read the environment long ago: starting it anew takes ten
    times as long as a download."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    huggingface_hub.close_session()  # its connections are made as the environment was

    def run(*arguments: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["livetalk", "download", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(stopped.value.code or 0), told.out, told.err)

    yield run
    huggingface_hub.close_session()


def there(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and ".cache" not in path.parts
    }


def test_every_repository_comes_into_the_released_layout(hub: type[Hub], tmp_path: Path) -> None:
    outcome = program(hub, "--to", str(tmp_path))
    assert outcome.returncode == 0, outcome.stderr
    wanted = {
        f"{repository.folder}/{name}"
        for repository in REPOSITORIES
        if not repository.models
        for name in FILES[repository.repo_id]
        if name not in UNWANTED
    }
    assert there(tmp_path) == wanted | {"revisions.json"}
    files = CheckpointFiles.under(tmp_path)
    assert files.missing() == ()
    assert files.vae.read_bytes() == b"Wan-AI/Wan2.1-T2V-1.3B Wan2.1_VAE.pth"
    for repository in REPOSITORIES:
        assert (repository.repo_id in outcome.stdout) == (repository.repo_id in FILES)


def test_a_bidirectional_model_comes_with_its_base(
    hub: type[Hub], download: Callable[..., Told], tmp_path: Path
) -> None:
    outcome = download("--to", str(tmp_path), "--needed-only", "--model", "omniavatar-1.3b")
    assert outcome.returncode == 0, outcome.stderr
    files = OmniAvatarFiles.under(tmp_path, "omniavatar-1.3b")
    files.require(CheckpointFiles.under(tmp_path))
    assert files.base[0].read_bytes() == b"Wan-AI/Wan2.1-T2V-1.3B diffusion_pytorch_model.safetensors"
    outcome = download("--to", str(tmp_path), "--model", "other")
    assert outcome.returncode == 2 and "omniavatar-14b" in outcome.stderr


@pytest.mark.parametrize("model", OMNIAVATAR)
def test_all_files_of_a_bidirectional_model_are_asked_for(model: str) -> None:
    files = OmniAvatarFiles.under(Path(), model)
    for path in (files.config, files.adapter, *files.base):
        patterns = [
            pattern
            for repository in REPOSITORIES
            if repository.folder == path.parent.name and model in (*repository.models, "omniavatar-1.3b")
            for pattern in repository.patterns
        ]
        assert any(fnmatch(path.name, pattern) for pattern in patterns), path


def test_pinned_commits_are_asked_for(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    download("--to", str(tmp_path), "--needed-only")
    revisions = {
        (found[1], found[2]) for line in hub.log if (found := re.search(r"/([^/]+/[^/]+)/resolve/([^/]+)/", line))
    }
    pinned = {r.repo_id: r.revision for r in REPOSITORIES if r.needed and not r.models}
    assert revisions == {(repository, commit or COMMIT) for repository, commit in pinned.items()}
    written = json.loads((tmp_path / "revisions.json").read_text())
    assert written == {repository: commit or COMMIT for repository, commit in pinned.items()}


def test_a_resolved_commit_is_kept(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    kept = "f" * 40
    (tmp_path / "revisions.json").write_text(json.dumps({"GAIR/LiveTalk-1.3B-V0.1": kept}))
    assert download("--to", str(tmp_path), "--needed-only").returncode == 0
    assert any(f"LiveTalk-1.3B-V0.1/resolve/{kept}/" in line for line in hub.log)
    assert not any("revision/main" in line for line in hub.log)


def test_a_revision_of_ones_own(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    commit = "e" * 40
    option = f"facebook/wav2vec2-base-960h={commit}"
    assert download("--to", str(tmp_path), "--needed-only", "--revision", option).returncode == 0
    assert any(f"wav2vec2-base-960h/resolve/{commit}/" in line for line in hub.log)


@pytest.mark.parametrize("repository", ["GAIR/LiveTalk-1.3B-V0.1", "facebook/wav2vec2-base-960h"])
def test_a_name_is_resolved_to_its_commit_and_written_down(
    hub: type[Hub], download: Callable[..., Told], tmp_path: Path, repository: str
) -> None:
    assert download("--to", str(tmp_path), "--needed-only", "--revision", f"{repository}=v0.1").returncode == 0
    assert f"GET /api/models/{repository}/revision/v0.1" in hub.log
    fetched = {found[1] for line in hub.log if (found := re.search(r"/(?:resolve|tree)/([^/]+)", line))}
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in fetched), fetched
    assert f"GET /{repository}/resolve/{COMMIT}/model.safetensors" in hub.log
    assert json.loads((tmp_path / "revisions.json").read_text())[repository] == COMMIT


def test_a_name_written_by_hand_is_resolved_too(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "revisions.json").write_text(json.dumps({"GAIR/LiveTalk-1.3B-V0.1": "v0.1", "other": "kept"}))
    assert download("--to", str(tmp_path), "--needed-only").returncode == 0
    assert "GET /api/models/GAIR/LiveTalk-1.3B-V0.1/revision/v0.1" in hub.log
    written = json.loads((tmp_path / "revisions.json").read_text())
    assert (written["GAIR/LiveTalk-1.3B-V0.1"], written["other"]) == (COMMIT, "kept")


@pytest.mark.parametrize("text", ["{", "[]", '{"GAIR/LiveTalk-1.3B-V0.1": 3}', "\x00"])
def test_revisions_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "revisions.json").write_text(text)
    with pytest.raises(DownloadError, match=r"revisions\.json .*delete it to resolve anew"):
        fetch(tmp_path)
    assert (tmp_path / "revisions.json").read_text() == text


def test_a_hub_that_closes_half_way_leaves_nothing_called_complete(
    hub: type[Hub], download: Callable[..., Told], tmp_path: Path
) -> None:
    """Its client then returns a folder that holds anything at all as if it were whole."""
    (tmp_path / "LiveTalk-1.3B-V0.1").mkdir()
    (tmp_path / "LiveTalk-1.3B-V0.1" / "README.md").write_text("begun")
    hub.closing = True
    outcome = download("--to", str(tmp_path), "--needed-only")
    assert outcome.returncode == 1
    assert "has not arrived in full, short of model.safetensors" in outcome.stderr
    assert "run the command again" in outcome.stderr


def test_a_commit_without_the_files(
    hub: type[Hub], download: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "GAIR/LiveTalk-1.3B-V0.1", ("README.md",))
    outcome = download("--to", str(tmp_path), "--needed-only")
    assert outcome.returncode == 1
    assert f"holds no model.safetensors at {COMMIT}" in outcome.stderr


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="can't be made: File exists"):
        fetch(tmp_path / "file")


def test_what_is_there_is_not_fetched_again(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    assert download("--to", str(tmp_path), "--needed-only").returncode == 0
    (tmp_path / "Wan2.1-T2V-1.3B" / "Wan2.1_VAE.pth").unlink()
    hub.log.clear()
    assert download("--to", str(tmp_path), "--needed-only").returncode == 0
    fetched = [line for line in hub.log if line.startswith("GET") and "/resolve/" in line]
    assert len(fetched) == 1
    assert fetched[0].endswith("Wan2.1_VAE.pth")


def test_a_repository_that_is_gone(hub: type[Hub], download: Callable[..., Told], tmp_path: Path) -> None:
    hub.absent.add("GAIR/LiveTalk-1.3B-V0.1")
    outcome = download("--to", str(tmp_path))
    assert outcome.returncode == 1
    assert "livetalk: GAIR/LiveTalk-1.3B-V0.1 could not be fetched" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_without_a_network(hub: type[Hub], tmp_path: Path) -> None:
    hub.url = "http://127.0.0.1:9"  # discard: nobody listens
    outcome = program(hub, "--to", str(tmp_path), "--needed-only")
    assert outcome.returncode == 1
    assert "could not be fetched" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_revision_for_an_unknown_repository(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["download", "--to", str(tmp_path), "--revision", "nonsense"])
    assert outcome.exit_code == 2
    outcome = CliRunner().invoke(app, ["download", "--to", str(tmp_path), "--revision", "a/b=c"])
    assert "No repository 'a/b'" in str(outcome.exception)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, int(1e9)))
    with pytest.raises(DownloadError, match=r"About 19 GB .* has 1 GB free"):
        fetch(tmp_path)
    # What has arrived need not come again; a folder that only exists is not all there.
    (tmp_path / "LiveTalk-1.3B-V0.1").mkdir()
    with pytest.raises(DownloadError, match="About 19 GB"):
        fetch(tmp_path)
    with (tmp_path / "LiveTalk-1.3B-V0.1" / "model.safetensors").open("wb") as file:
        file.truncate(int(5.7e9))
    with pytest.raises(DownloadError, match="About 13 GB"):
        fetch(tmp_path)


# -- doctor ----------------------------------------------------------------------------------------------------------


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_an_empty_machine(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["doctor", "--checkpoints", str(tmp_path)])
    assert outcome.exit_code == 1
    for subject in ("transformer", "text encoder", "tokenizer", "VAE", "speech encoder"):
        assert re.search(rf"^missing  {subject} .* is not there$", outcome.output, re.MULTILINE)
    assert outcome.output.count("livetalk download --to") == 1
    assert f"VAE, speech encoder: livetalk download --to {tmp_path}\n" in outcome.output
    for subject in ("torch", "libx264", "aac", "attention", "disk", "memory"):
        assert f" {subject} " in outcome.output


def test_json(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["doctor", "--checkpoints", str(tmp_path), "--json"])
    assert {"subject", "level", "detail", "remedy"} == set(json.loads(outcome.output)[0])


def test_a_machine_that_is_to_run_the_tiny_model_needs_neither_gpu_nor_files(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["doctor", "--for", "tiny", "--checkpoints", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    assert "missing" not in outcome.output
    assert " torch " in outcome.output


def test_files_of_another_size_are_told_apart(checkpoints: TinyCheckpoints) -> None:
    found = by_subject(examine(checkpoints.root))
    assert "of another shape" in found["transformer"].detail
    assert found["transformer"].level == "missing"
    assert found["tokenizer"].level == "ok"
    assert "3 layers of 32 channels" in found["speech encoder"].detail


def test_the_published_shapes_satisfy_it(
    checkpoints: TinyCheckpoints, sparse_safetensors: Callable[[Path, dict[str, tuple[int, ...]]], None]
) -> None:
    from livetalk.render import vae as vae_module
    from livetalk.render.config import DiTConfig, SpeechConfig, TextConfig, VAEConfig
    from livetalk.render.encoders import speech as speech_module
    from livetalk.render.encoders import text as text_module
    from livetalk.render.model import reference_shapes

    sparse_safetensors(checkpoints.files.dit, reference_shapes(DiTConfig()))
    sparse_safetensors(checkpoints.files.vae, vae_module.reference_shapes(VAEConfig()))
    sparse_safetensors(checkpoints.files.text_encoder, text_module.reference_shapes(TextConfig()))
    sparse_safetensors(checkpoints.files.speech / "model.safetensors", speech_module.reference_shapes(SpeechConfig()))
    (checkpoints.files.speech / "config.json").write_text('{"hidden_size": 768, "num_hidden_layers": 12}')
    found = by_subject(examine(checkpoints.root))
    for subject in ("transformer", "text encoder", "tokenizer", "VAE", "speech encoder"):
        assert found[subject].level == "ok", found[subject].detail


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"do_stable_layer_norm": True}, "wav2vec2-base's kind"),
        ({"feat_extract_norm": "layer"}, "wav2vec2-base's kind"),
        ({"add_adapter": True}, "wav2vec2-base's kind"),
        ({"hidden_act": "nonsense"}, "nonsense"),
        ({"num_attention_heads": 7}, "does not describe a wav2vec2"),
        ({"conv_kernel": [10, 3]}, "does not describe a wav2vec2"),
    ],
    ids=repr,
)
def test_every_setting_that_loading_refuses_is_noticed_before(
    setting: dict[str, Any],
    says: str,
    checkpoints: TinyCheckpoints,
    sparse_safetensors: Callable[[Path, dict[str, tuple[int, ...]]], None],
) -> None:
    from livetalk.base.errors import CheckpointError
    from livetalk.render.checkpoint import load_speech_encoder
    from livetalk.render.config import SpeechConfig
    from livetalk.render.encoders import speech as speech_module

    folder = checkpoints.files.speech
    sparse_safetensors(folder / "model.safetensors", speech_module.reference_shapes(SpeechConfig()))
    (folder / "config.json").write_text(json.dumps({"hidden_size": 768, "num_hidden_layers": 12, **setting}))
    found = by_subject(examine(checkpoints.root))["speech encoder"]
    assert found.level == "missing" and says in found.detail
    with pytest.raises(CheckpointError):
        load_speech_encoder(folder)


def test_a_damaged_file_is_found(checkpoints: TinyCheckpoints) -> None:
    checkpoints.files.vae.write_bytes(checkpoints.files.vae.read_bytes()[:5000])
    assert "cut short" in by_subject(examine(checkpoints.root))["VAE"].detail


def test_a_missing_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    version = importlib.metadata.version

    def no_diffusers(name: str) -> object:
        if name == "diffusers":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", no_diffusers)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else find(name))
    found = by_subject(examine(tmp_path))
    assert found["diffusers"].level == "missing"
    assert "interbench[livetalk]" in str(found["diffusers"].remedy)
    assert found["checkpoints"].level == "missing"


def test_ready_is_nothing_missing() -> None:
    assert ready([Finding("a", "ok", ""), Finding("b", "note", "")])
    assert not ready([Finding("a", "ok", ""), Finding("b", "missing", "")])


@pytest.mark.parametrize("version", ["2.9.0", "2.9.1+cu128", "2.9"])
def test_a_torch_whose_decoder_is_slow_is_refused(version: str) -> None:
    with pytest.raises(OptionError, match=r"Install torch 2\.10 or later, or 2\.8"):
        require_usable(version, "cuda:1")
    require_usable(version, "cpu")
    assert [finding.level for finding in versions_that_matter(version, 91_600)] == ["missing", "ok"]


@pytest.mark.parametrize("version", ["2.8.0", "2.10.0+cu130", "2.13.0+cpu", "2.90.0", "3.0"])
def test_other_torches_are_taken(version: str) -> None:
    require_usable(version, "cuda")


@pytest.mark.parametrize(
    ("cudnn", "level", "said"),
    [
        (91_500, "ok", "9.15.0"),
        (90_701, "ok", "9.7.1"),
        (91_002, "note", "9.10.2; from 9.8 to 9.14"),
        (None, "missing", "built without it"),
    ],
)
def test_what_is_said_of_cudnn(cudnn: int | None, level: str, said: str) -> None:
    (finding,) = versions_that_matter("2.13.0", cudnn)
    assert (finding.subject, finding.level) == ("cuDNN", level) and said in finding.detail


def test_the_project_asks_for_another_torch_than_that() -> None:
    project = tomllib.loads((Path(livetalk.__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    (torch,) = [Requirement(one) for one in project["optional-dependencies"]["livetalk"] if one.startswith("torch")]
    assert not torch.specifier.contains("2.9.1") and torch.specifier.contains("2.10.0")


@pytest.mark.parametrize("models", [("qwen",), ("qwen", "other"), None], ids=["there", "several models", "nobody"])
def test_the_doctor_asks_the_server_behind_the_thinker(models: tuple[str, ...] | None) -> None:
    def examined(url: str) -> tuple[int, str]:
        options = ["doctor", "--for", "tiny", "--thinker", "chat", "--set", f"thinker.url={url}"]
        done = CliRunner().invoke(app, options)
        (line,) = [line for line in done.output.splitlines() if " thinker " in line]
        return done.exit_code, line

    async def served() -> tuple[int, str]:
        async with ChatStub(models=models or ()) as stub:
            return await asyncio.to_thread(examined, stub.url)

    status, line = examined("http://127.0.0.1:9/v1") if models is None else asyncio.run(served())
    several = "thinker.model=NAME" if models is not None else "can't be reached"
    said = "chat qwen + qwen answers" if models == ("qwen",) else several
    assert line.startswith("ok " if models == ("qwen",) else "missing ") and said in line, line
    assert status == (0 if models == ("qwen",) else 1)
