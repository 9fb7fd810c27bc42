"""What a run was made with, and whether a new invocation may add to it."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from interbench import __version__
from interbench.base import termination
from interbench.base.errors import IncomparableError, StoreError
from interbench.base.foreign import kept_json
from interbench.store.trouble import explained

SCHEMA = 1
_PACKAGES = ("av", "espeakng-loader", "httpx", "jinja2", "numpy", "pandas", "pillow", "pydantic", "scipy")
_OPTIONAL = ("datasets", "diffusers", "flash-attn", "funasr", "google-auth", "torch", "transformers", "vllm")


def versions() -> dict[str, str]:
    """Versions of everything that could change a result."""
    found = {"interbench": __version__, "python": platform.python_version()}
    for package in (*_PACKAGES, *_OPTIONAL):
        try:
            found[package] = _version(package)
        except metadata.PackageNotFoundError:
            continue
    revision = git_revision()
    if revision is not None:
        found["git"] = revision
    return found


@cache
def _version(package: str) -> str:
    """Read once: each of these is a file of many kilobytes to be parsed, and a run writes several manifests."""
    return metadata.version(package)


def git_revision() -> str | None:
    """Revision of the checkout that interbench runs from, with ``+`` if it was changed; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - whichever git the user has
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],  # noqa: S607
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if status else "")


def host() -> dict[str, Any]:
    """The machine, as far as it explains timings."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at ``path``; None if there is none yet."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The manifest {path} can't be read ({error}). Restore it from a backup, or give the run a new folder "
            f"with --out."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise StoreError(f"The manifest {path} was written by another version of interbench; use that version.")
    return manifest


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write atomically. What systems and services say of themselves is in it, so texts are mended first."""
    temporary = path.with_suffix(".tmp")
    text = json.dumps(kept_json(manifest), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    with explained(path.parent), termination.undivided():
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def merge(
    old: Mapping[str, Any] | None,
    *,
    settings: Mapping[str, Any],
    frozen: Mapping[str, Any],
    scenarios: Mapping[str, str],
    personas: Mapping[str, str],
    plan: Mapping[str, Sequence[str]],
    systems: Mapping[str, Mapping[str, Any]],
    prompts: str,
    scenario_sets: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The manifest after this invocation.

    A run may grow: more scenarios, systems or judges. What it already holds must have been made with the same
    scenarios, personas and system settings, and the same ``frozen`` settings. ``scenario_sets``: name, version and
    digest of the sets that the scenarios are from.

    Raises:
        IncomparableError: naming each difference.
    """
    invocation = {"versions": versions(), "host": host(), "settings": dict(settings)}
    if old is None:
        old = {"schema": SCHEMA, "created": now()}
    earlier = list(old.get("invocations", []))
    if not earlier or {name: earlier[-1].get(name) for name in invocation} != invocation:
        # The same command again, on the same machine and versions, leaves the manifest as it is.
        earlier.append({"at": now(), **invocation})
    differences = [
        *_differences("setting", old.get("frozen", {}), frozen),
        *_differences("scenario", old.get("scenarios", {}), scenarios),
        *_differences("persona", old.get("personas", {}), personas),
    ]
    for label, facts in systems.items():
        before = old.get("systems", {}).get(label)
        if before is not None:
            differences += _differences(f"system {label}:", *_comparable(before, facts))
    if differences:
        raise IncomparableError(
            "This run folder was made differently, and old and new results would not be comparable: "
            + "; ".join(differences)
            + ". Give the old settings again, or a new folder with --out."
        )
    return {
        **old,
        "frozen": {**old.get("frozen", {}), **frozen},
        "scenarios": {**old.get("scenarios", {}), **scenarios},
        "personas": {**old.get("personas", {}), **personas},
        "plan": {
            label: list(dict.fromkeys([*old.get("plan", {}).get(label, []), *plan.get(label, [])]))
            for label in [*old.get("plan", {}), *(label for label in plan if label not in old.get("plan", {}))]
        },
        "systems": {**old.get("systems", {}), **{label: dict(facts) for label, facts in systems.items()}},
        "prompts": prompts,
        "settings": dict(settings),
        **_sets(old.get("scenario_sets", []), scenario_sets),
        "invocations": earlier[-50:],
    }


def _sets(held: Sequence[Mapping[str, Any]], played: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name, version and digest of every set that the run was played from, each once."""
    every = [*map(dict, held)]
    every += [dict(one) for one in played if dict(one) not in every]
    return {"scenario_sets": every} if every else {}


def _comparable(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What makes the results of a system comparable; of its settings those that differ."""
    settings = [dict(system.get("settings") or {}) for system in (old, new)]
    differing = [n for n in settings[0] | settings[1] if _json(settings[0].get(n)) != _json(settings[1].get(n))]
    before, after = (
        {
            "spec": system.get("spec"),
            "version": system.get("version"),
            "settings": {name: of_system.get(name) for name in differing},
        }
        for system, of_system in zip((old, new), settings, strict=True)
    )
    return before, after


def _differences(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    found = []
    for name in sorted(set(old) & set(new)):
        before, after = _json(old[name]), _json(new[name])
        if before != after:
            if len(before) == len(after) == 66:  # two SHA-256 digests say nothing to a reader
                found.append(f"{kind} {name!r} has changed its content")
            else:
                found.append(f"{kind} {name!r} was {_short(before)} and is now {_short(after)}")
    return found


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
