"""Run one of the benchmarks, from the repository's root, or list them.

    .venv-test/bin/python -m benchmarks [NAME [OPTION ...]]

The scripts borrow stub servers and makers of clips from the tests; this puts them on the path, of the script and of the
processes that it starts.
"""

from __future__ import annotations

import ast
import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
BORROWED = (HERE, HERE.parent / "tests" / "support")


def scripts() -> dict[str, str]:
    """The benchmarks by name, with the first line of what each says of itself."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        text = path.read_text("utf-8")
        if path.name != Path(__file__).name and "\nif __name__ ==" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def main() -> None:
    known = scripts()
    name, *options = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__, *(f"{known_name:18} {line}" for known_name, line in known.items()), sep="\n")
        return
    if name not in known:
        sys.exit(f"There is no benchmark {name!r}: it is one of {', '.join(known)}.")
    sys.path[:0] = map(str, BORROWED)
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, BORROWED), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.argv[1:] = options
    runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")


if __name__ == "__main__":
    main()
