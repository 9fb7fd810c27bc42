"""Whether a checkout is what its recipe needs: interpreter, commit, entry script, weights, memory of the GPU."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interbench.base.errors import GpuError
from interbench.base.foreign import mended
from interbench.base.gpus import find_gpus
from interbench.systems.recipes.model import Checkpoint, Recipe

_POINTER = b"version https://git-lfs"
_INTERPRETER_S = 60.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at."""

    level: Literal["ok", "note", "wrong"]
    text: str


def found_commit(home: Path) -> str | None:
    """The commit that is checked out at ``home``, from its ``.git`` without running git; None if it is no checkout."""
    git = home / ".git"
    try:
        if git.is_file():
            git = home / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return _hexadecimal(head)
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return _hexadecimal(loose.read_text(encoding="utf-8").strip())
        for line in (git / "packed-refs").read_text(encoding="utf-8").splitlines():
            commit, _, ref = line.partition(" ")
            if ref == name:
                return _hexadecimal(commit)
    except (OSError, UnicodeDecodeError):
        pass
    return None


def _hexadecimal(text: str) -> str | None:
    return text if text and set(text) <= set("0123456789abcdef") else None


def check_files(recipe: Recipe, home: Path) -> Iterator[Checked]:
    """What can be told without starting anything or reading whole weights."""
    if not home.is_dir():
        yield Checked("wrong", f"{home} is no folder; clone https://github.com/{recipe.repository} there")
        return
    if not (home / recipe.entry).is_file():
        yield Checked("wrong", f"{home} has no {recipe.entry}; is it a checkout of {recipe.repository}?")
    commit = found_commit(home)
    if commit is None:
        yield Checked("note", f"{home} does not say its commit; the recipe is for {recipe.commit[:8]}")
    elif commit.startswith(recipe.commit):
        yield Checked("ok", f"{recipe.repository} at {commit[:8]}")
    else:
        yield Checked(
            "note",
            f"{home} is at {commit[:8]} and the recipe was read at {recipe.commit[:8]}; options and names of files may "
            f"differ (git checkout {recipe.commit})",
        )
    for checkpoint in recipe.checkpoints:
        yield _check(checkpoint, home)


def _check(checkpoint: Checkpoint, home: Path) -> Checked:
    path = home / checkpoint.path
    where = f" (from {checkpoint.source})" if checkpoint.source else ""
    if path.is_dir():
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
        if empty:
            return Checked("wrong", f"{checkpoint.path} is an empty folder; download the weights{where}")
        return Checked("ok", checkpoint.path)
    if not path.is_file():
        return Checked("wrong", f"{checkpoint.path} is missing; download it{where}")
    size = path.stat().st_size
    if size < 1024:
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                return Checked(
                    "wrong", f"{checkpoint.path} is a pointer of Git LFS and no weights; run git lfs pull{where}"
                )
    if checkpoint.bytes is not None and size != checkpoint.bytes:
        return Checked(
            "wrong",
            f"{checkpoint.path} has {size:,} bytes and should have {checkpoint.bytes:,}; download it again{where}",
        )
    return Checked("ok", f"{checkpoint.path}, {size:,} bytes")


def check_digests(recipe: Recipe, home: Path) -> Iterator[Checked]:
    """The weights whose SHA-256 the recipe knows, read whole."""
    for checkpoint in recipe.checkpoints:
        path = home / checkpoint.path
        if checkpoint.sha256 is None or not path.is_file():
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest == checkpoint.sha256:
            yield Checked("ok", f"{checkpoint.path}: SHA-256 as it should be")
        else:
            yield Checked(
                "wrong", f"{checkpoint.path} has the SHA-256 {digest}, not {checkpoint.sha256}; download it again"
            )


async def check_interpreter(recipe: Recipe, python: str) -> Checked:
    """Whether the interpreter of the checkout's own environment starts."""
    try:
        process = await asyncio.create_subprocess_exec(
            python,
            "-I",
            "-c",
            "import sys; print(sys.version.split()[0])",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return Checked(
            "wrong",
            f"{python} can't be started ({error.strerror or error}); make an environment of its own "
            f"({recipe.install}), or name its interpreter with python",
        )
    try:
        async with asyncio.timeout(_INTERPRETER_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return Checked("wrong", f"{python} does not answer within {_INTERPRETER_S:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = mended(said.decode(errors="replace").strip(), 200)
    if process.returncode != 0:
        return Checked("wrong", f"{python} does not run: {words}")
    return Checked("ok", f"{python}: Python {words}")


def check_gpus(recipe: Recipe) -> Checked:
    """Whether this machine has a GPU with the memory that the recipe asks for."""
    try:
        gpus = find_gpus()
    except GpuError as error:
        return Checked("wrong", str(error))
    if not gpus:
        return Checked("note", "no NVIDIA GPU is seen on this machine")
    needs = recipe.cost.vram_gb
    largest = max((gpu.memory_gib for gpu in gpus if gpu.memory_gib is not None), default=None)
    if needs is not None and largest is not None and largest * 1.0737 < needs:
        return Checked("note", f"the largest GPU has {largest:.0f} GiB and the repository speaks of {needs:g} GB")
    return Checked("ok", f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}: {', '.join(gpu.name for gpu in gpus)}")


async def check_checkout(recipe: Recipe, home: Path, python: str) -> list[Checked]:
    """All of it, for ``interbench recipe check``."""
    found = list(await asyncio.to_thread(lambda: list(check_files(recipe, home))))
    found += await asyncio.to_thread(lambda: list(check_digests(recipe, home)))
    return [*found, await check_interpreter(recipe, python), await asyncio.to_thread(check_gpus, recipe)]
