"""Where the data that travels with the package lies: ``prompts/`` and ``scenarios/``.

In a wheel both are inside the package; in a checkout (editable install) they stand beside it.
"""

from __future__ import annotations

from pathlib import Path

from interbench.base.errors import InterbenchError

_PACKAGE = Path(__file__).resolve().parents[1]


def data_path(name: str) -> Path:
    """Folder of the bundled data ``name`` (``"prompts"`` or ``"scenarios"``)."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise InterbenchError(f"The bundled folder {name!r} is missing from this installation; reinstall interbench.")
