"""The digest of the bundled prompts says whether two runs had the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from interbench.base.bundled import data_path
from interbench.pipeline.run_manifest import _prompts_digest


def test_a_new_suffix_leaves_the_digest_as_older_runs_have_it(tmp_path: Path) -> None:
    total = hashlib.sha256()
    for name, text in (("judge/EA.j2", "Rate."), ("systems/_scene.jinja", "A room."), ("systems/veo.jinja", "Speak.")):
        total.update(name.encode() + b"\0" + text.encode() + b"\0")
        file = tmp_path / name.replace(".jinja", ".j2")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert _prompts_digest(tmp_path) == total.hexdigest()
    (tmp_path / "systems" / "veo.j2").write_text("Sing.")
    assert _prompts_digest(tmp_path) != total.hexdigest()


def test_every_bundled_prompt_has_the_one_suffix() -> None:
    files = [path for path in data_path("prompts").rglob("*") if path.is_file()]
    assert files and {path.suffix for path in files} == {".j2"}
