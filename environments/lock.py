"""Write the lock files beside this script: `make lock` runs it in an environment of its own, with uv and packaging.

    python environments/lock.py torch==2.13.0 [--keep | --oldest FILE]

uv resolves once for all of Python 3.11 to 3.13 on Linux and macOS. What is written per package are the hashes of the
wheels that these can install, and the hash of the source distribution only where one of them has no wheel: so pip
builds nothing that is not named at the top of a file. A lock holds no address: files come from whatever index pip is
configured for, and the hashes say that they are the same.

torch is in no lock. Its build depends on the machine (CPU, a version of CUDA), which no lock for all can know; it is
installed by exact version, and everything that it needs on a CPU is locked.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHONS = (11, 12, 13)
LINUX = ("linux x86_64", "linux aarch64")
MACOS = ("darwin arm64",)
#: Everything that the tests use.
TESTED_EXTRAS = (
    *("test", "asr", "livetalk", "train", "hub", "rate", "metrics", "faces", "ray"),
    *("gemini-live", "livekit", "webrtc"),
)
#: Platforms whose wheels are locked where there are any: Linux without glibc, and the Macs of before.
WELCOME = {LINUX: ("musl x86_64", "musl aarch64"), MACOS: ("darwin x86_64",)}
#: What a marker may ask of any of them.
CPYTHON = {"platform_python_implementation": "CPython", "implementation_name": "cpython", "os_name": "posix"}

Place = tuple[int, str]  # the Python's minor version, the platform


@dataclass(frozen=True, slots=True)
class Lock:
    """What one lock file is resolved from.

    Attributes:
        name: Of the file, without its ending.
        sources: Files to read requirements from; ``-`` is ``requirements``.
        requirements: Requirements, one per line.
        extras: Extras of the project.
        within: Lock whose versions hold here too.
        like: Lock whose versions are preferred, where nothing speaks against them.
        overrides: Requirements in place of what packages ask for.
        platforms: Where every package must be installable.
    """

    name: str
    sources: tuple[str, ...]
    requirements: str = ""
    extras: tuple[str, ...] = ()
    within: str | None = None
    like: str | None = None
    overrides: str = ""
    platforms: tuple[str, ...] = (*LINUX, *MACOS)


@dataclass(frozen=True, slots=True)
class Locked:
    """A package as it is written, and where it has to be built from source."""

    name: str
    text: str
    built: tuple[Place, ...]


def locks(torch: str) -> list[Lock]:
    """The lock files, in the order in which they depend on each other."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    # What hatchling asks for when the project is installed in place, and what builds the source distributions.
    build += ["editables", "setuptools"]
    # vLLM asks for a CPU build of torch by its local version, which the usual index doesn't have. Three packages it
    # asks for are CUDA builds that a CPU's torch can't load, 1.2 GB of them, and nothing here uses them.
    absent = "\n".join(f"{name} ; sys_platform == 'never'" for name in ("torchaudio", "torchcodec", "triton"))
    return [
        Lock("test", ("pyproject.toml",), extras=TESTED_EXTRAS),
        Lock("core", ("pyproject.toml",), within="test"),
        Lock("livetalk", ("pyproject.toml",), extras=("livetalk",), within="test"),
        Lock("build", ("-",), requirements="\n".join(build), within="test"),
        Lock("vllm", ("environments/vllm.in",), like="test", overrides=f"{torch}\n{absent}", platforms=LINUX),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("torch", help="the torch that all locks must go with, as name==version")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--keep", action="store_true", help="keep every version that nothing speaks against")
    either.add_argument("--oldest", type=Path, metavar="FILE", help="write the oldest versions allowed, and no lock")
    arguments = parser.parse_args()
    torch = re.sub(r"\+.*", "", arguments.torch)  # a local version names a build of the same thing
    if not re.fullmatch(r"torch==[\w.]+", torch):
        parser.error(f"torch must be given as torch==VERSION, not {arguments.torch!r}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.oldest:
            return write_oldest(torch, folder, arguments.oldest)
        written = [(lock.name, write(lock, torch, folder, keep=arguments.keep)) for lock in locks(torch)]
        for name, _ in written:
            shutil.copyfile(folder / f"{name}.txt", HERE / f"{name}.txt")
    for name, packages in written:
        print(f"{name}.txt: {len(packages)} packages")
        for package in packages:
            if package.built:
                print(f"    {package.name} is built from source for {_words(package.built)}")


def write(lock: Lock, torch: str, folder: Path, *, keep: bool) -> list[Locked]:
    """Resolve one lock and write it to ``folder``; its packages."""
    constraints, overrides = folder / "constraints", folder / "overrides"
    constraints.write_text(f"{torch}\n{(folder / f'{lock.within}.txt').read_text() if lock.within else ''}", "utf-8")
    overrides.write_text(lock.overrides, "utf-8")
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", f"3.{PYTHONS[0]}"]
    # One version for all, so that what is tested on one Python is what the others run.
    command += ["--fork-strategy", "fewest", "--override", str(overrides)]
    command += [part for extra in lock.extras for part in ("--extra", extra)]
    # uv prefers the versions that stand in the file it is to write, and knows only one format of them.
    preferred = HERE / f"{lock.name}.txt" if keep else folder / f"{lock.like}.txt"
    if preferred.exists():
        versions = Path(shutil.copyfile(preferred, folder / "versions.txt"))
        resolve([*command, "--constraint", str(constraints), "--output-file", str(versions), *lock.sources], lock)
        constraints.write_text(versions.read_text("utf-8"), "utf-8")
    result = folder / f"pylock.{lock.name}.toml"
    command += ["--constraint", str(constraints), "--format", "pylock.toml", "--output-file", str(result)]
    resolve([*command, "--no-emit-package", "torch", *lock.sources], lock)
    found = tomllib.loads(result.read_text("utf-8"))["packages"]
    packages = [p for package in found if (p := locked(package, lock.platforms))]
    systems = "Linux and macOS" if MACOS[0] in lock.platforms else "Linux"
    head = (
        f"Written by `make lock`, never by hand: for Python 3.{PYTHONS[0]} to 3.{PYTHONS[-1]} on {systems}. torch is "
    )
    head += "not in it, see TORCH in the Makefile."
    if sources := [package.name for package in packages if package.built]:
        head += f" From source where there is no wheel: {', '.join(sources)}."
    lines = [f"# {line}" for line in textwrap.wrap(head, 116)]
    (folder / f"{lock.name}.txt").write_text("\n".join([*lines, *(p.text for p in packages), ""]), "utf-8")
    return packages


def write_oldest(torch: str, folder: Path, path: Path) -> None:
    """What the lock of the tests would be with the lowest version of everything that pyproject.toml names."""
    lock = locks(torch)[0]
    (folder / "constraints").write_text(torch, "utf-8")
    command = ["uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--no-emit-package", "torch"]
    command += ["--no-annotate", "--no-header", "--constraint", str(folder / "constraints"), "--output-file", str(path)]
    resolve([*command, *(part for extra in lock.extras for part in ("--extra", extra)), *lock.sources], lock)


def resolve(command: Sequence[str], lock: Lock) -> None:
    """Run uv with the index that pip has."""
    environment = dict(os.environ)
    get = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = environment.get("PIP_INDEX_URL") or subprocess.run(get, capture_output=True, text=True).stdout.strip()
    if index:
        environment.setdefault("UV_DEFAULT_INDEX", index)
    done = subprocess.run(command, cwd=ROOT, env=environment, input=lock.requirements, text=True)
    if done.returncode:
        sys.exit(f"The versions for {lock.name}.txt could not be resolved; no lock file was changed.")


def locked(package: dict[str, Any], platforms: Sequence[str]) -> Locked | None:
    """One package of uv's in pip's words, or nothing if no place asks for it."""
    welcome = [other for known, others in WELCOME.items() if known[0] in platforms for other in others]
    places = list(itertools.product(PYTHONS, platforms))
    marker = Marker(package["marker"]) if "marker" in package else None
    asking = [place for place in places if marker is None or marker.evaluate(_facts(place))]
    if not asking:
        return None
    hashes, served = set(), set()
    for wheel in package.get("wheels", []):
        _, _, _, tags = parse_wheel_filename(wheel["url"].rsplit("/", 1)[-1])
        for place in itertools.product(PYTHONS, (*platforms, *welcome)):
            if any(_fits(tag, place) for tag in tags):
                hashes.add(wheel["hashes"]["sha256"])
                served.add(place)
    lacking = tuple(place for place in asking if place not in served)
    if lacking and "sdist" not in package:
        sys.exit(
            f"{package['name']} {package['version']} can't be had for {_words(lacking)}; no lock file was changed."
        )
    if lacking:
        hashes.add(package["sdist"]["hashes"]["sha256"])
    first = f"{package['name']}=={package['version']}"
    if len(asking) < len(places):
        first += f" ; {marker}"
    return Locked(
        package["name"], " \\\n".join([first, *(f"    --hash=sha256:{digest}" for digest in sorted(hashes))]), lacking
    )


def _facts(place: Place) -> dict[str, str]:
    """What a marker sees there."""
    python, (system, machine) = f"3.{place[0]}", place[1].split()
    names = {"sys_platform": system, "platform_system": system.capitalize(), "platform_machine": machine}
    return {"python_version": python, "python_full_version": f"{python}.0", **names, **CPYTHON}


def _fits(tag: Tag, place: Place) -> bool:
    """Whether a wheel of this tag can be installed there, however old the system."""
    python, (system, machine) = place[0], place[1].split()
    if tag.platform != "any":
        names = {"linux": "(many)?linux.*", "musl": "musllinux.*", "darwin": "macosx.*"}[system]
        machines = f"({machine}|universal2)" if system == "darwin" else machine
        if not re.fullmatch(f"{names}_{machines}", tag.platform):
            return False
    name = f"cp3{python}"
    known = itertools.chain(
        cpython_tags((3, python), abis=[name], platforms=[tag.platform]),
        compatible_tags((3, python), name, platforms=[tag.platform]),
    )
    return tag in known


def _words(places: Sequence[Place]) -> str:
    platforms: dict[str, list[int]] = {}
    for python, platform in places:
        platforms.setdefault(platform, []).append(python)
    return ", ".join(
        platform if len(pythons) == len(PYTHONS) else f"{platform} (3.{', 3.'.join(map(str, pythons))})"
        for platform, pythons in platforms.items()
    )


if __name__ == "__main__":
    main()
