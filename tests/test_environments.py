"""The lock files, and what makes, shares and compares the environments that are installed from them."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import util
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "environments"
LOCKS = ("build", "core", "livetalk", "test", "vllm")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

PIN = re.compile(r"([a-z0-9-]+)==([\w.!+]+)( ; [\w\s.<>=!()\"']+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
COMMENT = re.compile(r"# [^/\\@]*")


def lines(lock: str) -> list[str]:
    return (HERE / f"{lock}.txt").read_text("utf-8").splitlines()


def pins(lock: str) -> list[Requirement]:
    return [Requirement(line.removesuffix("\\")) for line in lines(lock) if PIN.fullmatch(line)]


def load(name: str) -> ModuleType:
    spec = util.spec_from_file_location(f"environments_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_no_address(lock: str) -> None:
    text = lines(lock)
    assert [line for line in text if not any(p.fullmatch(line) for p in (PIN, HASH, COMMENT))] == []
    followers = [after for line, after in itertools.pairwise([*text, ""]) if line.endswith("\\")]
    assert followers and all(HASH.fullmatch(after) for after in followers)


def test_no_other_lock_is_kept() -> None:
    """uv's own names the address of every file."""
    assert sorted(path.name for path in HERE.glob("*.txt")) == [f"{lock}.txt" for lock in LOCKS]
    assert not (ROOT / "uv.lock").exists() and not list(ROOT.glob("pylock*.toml"))


@pytest.mark.parametrize("lock", LOCKS)
def test_what_comes_with_a_build_of_torch_is_not_locked(lock: str) -> None:
    assert [p.name for p in pins(lock) if re.match(r"torch$|triton|nvidia-|cuda-", p.name)] == []


@pytest.mark.parametrize("lock", ["build", "core", "livetalk"])
def test_what_two_environments_hold_is_the_same(lock: str) -> None:
    tested = {pin.name: str(pin) for pin in pins("test")}
    assert {pin.name: str(pin) for pin in pins(lock) if pin.name != "editables"}.items() <= tested.items()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("system", "machine"), [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")])
def test_the_locks_hold_what_the_project_asks_for(python: str, system: str, machine: str) -> None:
    """A dependency that was added or raised without `make lock` is named here."""
    place = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    place |= {"platform_system": system, "sys_platform": system.lower(), "extra": ""}
    extras = PROJECT["optional-dependencies"]
    asked = {"core": PROJECT["dependencies"]}
    asked["livetalk"] = [*asked["core"], *extras["livetalk"]]
    asked["test"] = [line for extra in load("lock").TESTED_EXTRAS for line in extras[extra]]
    for lock, asking in asked.items():
        locked = {p.name: p for p in pins(lock) if p.marker is None or p.marker.evaluate(place)}
        for needed in map(Requirement, asking):
            if needed.name != "torch" and (needed.marker is None or needed.marker.evaluate(place)):
                pin = locked.get(canonicalize_name(needed.name))
                assert pin is not None, f"{needed} is not in {lock}.txt: run `make lock KEEP=yes`"
                assert needed.specifier.contains(str(pin.specifier)[2:]), f"{needed}, but {lock}.txt has {pin}"


def file(name: str, digest: str) -> dict[str, object]:
    return {"url": f"scheme://index/{name}", "hashes": {"sha256": digest}}


WHEELS = [
    file("it-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "linux"),
    file("it-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", "musl"),
    file("it-1.0-cp312-abi3-macosx_11_0_universal2.whl", "mac"),
    file("it-1.0-cp311-cp311-win_amd64.whl", "windows"),
    file("it-1.0-cp310-cp310-manylinux_2_28_x86_64.whl", "old"),
    file("it-1.0-cp313-cp313t-manylinux_2_28_x86_64.whl", "threaded"),
]
BUILT = "linux aarch64, darwin arm64 (3.11), linux x86_64 (3.12, 3.13)"


def test_a_lock_keeps_the_files_that_our_places_can_install() -> None:
    """And that of the source, where one of them has no wheel."""
    lock = load("lock")
    package = {"name": "it", "version": "1.0", "wheels": WHEELS, "sdist": file("it-1.0.tar.gz", "source")}
    made = lock.locked(package, (*lock.LINUX, *lock.MACOS))
    hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in ("linux", "mac", "musl", "source"))
    assert (made.text, lock._words(made.built)) == (f"it==1.0{hashes}", BUILT)
    wheel = file("it-1.0-py3-none-any.whl", "any")
    assert lock.locked({**package, "wheels": [wheel]}, lock.LINUX).text == "it==1.0 \\\n    --hash=sha256:any"


def test_a_package_that_can_be_had_in_no_way_is_an_error() -> None:
    lock = load("lock")
    with pytest.raises(SystemExit, match=re.escape(f"it 1.0 can't be had for {BUILT}; no lock file was changed.")):
        lock.locked({"name": "it", "version": "1.0", "wheels": WHEELS}, (*lock.LINUX, *lock.MACOS))


MARKERS = [
    ("sys_platform == 'win32'", None),
    ("platform_python_implementation != 'PyPy'", "it==1.0"),
    ("python_full_version >= '3.12'", 'it==1.0 ; python_full_version >= "3.12"'),
]


@pytest.mark.parametrize(("marker", "first"), MARKERS)
def test_a_marker_stays_where_it_makes_a_difference(marker: str, first: str | None) -> None:
    lock = load("lock")
    package = {"name": "it", "version": "1.0", "marker": marker, "wheels": [file("it-1.0-py3-none-any.whl", "any")]}
    made = lock.locked(package, lock.LINUX)
    assert (made and made.text.splitlines()[0].removesuffix(" \\")) == first


def test_only_the_locked_version_is_shared(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (tmp_path / "lock.txt").write_text(f"iniconfig=={version('iniconfig')} \\\n    --hash=x\npluggy==0.1 \\\n", "utf-8")
    share = [sys.executable, str(HERE / "share.py"), str(tmp_path / "venv"), str(tmp_path / "lock.txt"), "sniffio"]
    said = subprocess.run(share, capture_output=True, text=True, check=True).stdout
    assert said.startswith("2 packages of ")
    site = next((tmp_path / "venv").glob("lib/python3.*/site-packages"))
    assert {path.name for path in site.iterdir() if not path.name.endswith("-info")} == {"iniconfig", "sniffio"}
    say = "import iniconfig, sniffio, importlib.metadata as m; print(m.version('sniffio'), iniconfig.__file__)"
    python = str(tmp_path / "venv" / "bin" / "python")
    there = subprocess.run([python, "-c", say], capture_output=True, text=True, check=True)
    assert there.stdout.split() == [version("sniffio"), str(site / "iniconfig" / "__init__.py")]


def torch_wheel(index: Path, version: str, needs: str) -> None:
    """A wheel of nothing, of the name torch, in a package index of files."""
    folder = index / "torch"
    folder.mkdir(parents=True, exist_ok=True)
    about = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\nRequires-Dist: jinja2\n{needs}"
        wheel.writestr(f"{about}/METADATA", metadata)
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    (folder / "index.html").write_text(
        "".join(f'<a href="{path.name}">{path.name}</a>' for path in folder.glob("*.whl"))
    )


@pytest.mark.parametrize(
    ("wheels", "printed"),
    [
        ({"1.0": ""}, "torch==1.0\n"),
        ({"1.0": "Requires-Dist: nvidia-cublas==13; platform_system == 'Linux'\n"}, ""),
        ({"1.0": "Requires-Dist: cuda-bindings\n", "1.0+cpu": ""}, "torch==1.0+cpu\n"),
        ({"1.0": "Requires-Dist: nvidia-cublas; platform_system == 'Plan9'\n"}, "torch==1.0\n"),
        ({}, ""),
    ],
)
def test_only_a_build_for_cpus_is_taken(tmp_path: Path, wheels: dict[str, str], printed: str) -> None:
    (tmp_path / "torch").mkdir()
    for one, needs in wheels.items():
        torch_wheel(tmp_path, one, needs)
    # PyTorch's own index can't be reached: nothing leaves this machine.
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "PIP_INDEX_URL": tmp_path.as_uri(), "PIP_CONFIG_FILE": os.devnull}
    environment.pop("PIP_EXTRA_INDEX_URL", None)
    command = [sys.executable, str(HERE / "cpu_torch.py"), "torch==1.0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.returncode) == (printed, 0 if printed else 1)
    assert printed or "no CPU build of torch==1.0 is to be had here" in done.stderr


def test_differences_from_a_lock_are_named(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("pluggy==0.1 \\\n    --hash=x\nnot-here==2.0 \\\n    --hash=x\n", "utf-8")
    command = [sys.executable, str(HERE / "differences.py"), str(tmp_path / "lock.txt")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [re.split(" +(?:-> )?", line) for line in said if line.startswith(("pluggy ", "not-here "))] == [
        ["not-here", "2.0", "not", "installed"],
        ["pluggy", "0.1", version("pluggy")],
    ]
    assert said[-1] == f"{len(said) - 1} packages differ from {tmp_path / 'lock.txt'}"


@pytest.mark.parametrize("kill", [False, True], ids=["ends", "killed"])
def test_busy_loops_end_with_their_command(kill: bool) -> None:
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, str(ROOT / "tests" / "support" / "busy.py"), "2", sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        loops = psutil.Process(process.pid).children()
        assert len(loops) == 2 and all(loop.nice() == os.getpriority(os.PRIO_PROCESS, 0) for loop in loops)
        if kill:
            process.kill()
    assert process.returncode == (-9 if kill else 0)
    assert psutil.wait_procs(loops, timeout=60)[1] == []
