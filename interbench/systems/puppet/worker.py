"""The process that renders: one JSON line in, one JSON line out, until standard input closes."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from interbench.base.answering import serve
from interbench.domain.persona import Persona
from interbench.systems.puppet.render import render
from interbench.systems.puppet.staging import Staging


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Render the clip that ``request`` asks for; an empty request only answers, which shows that all is loaded."""
    if not request:
        return {}
    variant = request["variant"]
    clip = render(
        Path(request["path"]),
        Persona.model_validate(request["persona"]),
        request["text"],
        mood=request["mood"],
        seed=request["seed"],
        turn=request["turn"],
        staging=Staging() if variant is None else _staging_of(variant),
    )
    return asdict(clip)


def _staging_of(variant: str) -> Staging:
    # Here: with the defects come the texts that were written for them, half of what the intact puppet's worker loads.
    from interbench.systems.puppet.defects import defect_of

    return defect_of(variant).staging


if __name__ == "__main__":
    # Rendering yields to the processes that keep time.
    os.nice(5)
    serve(handle)
