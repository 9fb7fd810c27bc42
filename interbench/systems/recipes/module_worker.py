"""Runs functions of a checkout with its weights loaded once: ``python module_worker.py SPEC REQUESTS ANSWERS``.

Started by the interpreter of the checkout's own environment, in a view of the checkout, so it imports nothing of ours
and keeps to Python 3.8. ``SPEC`` is JSON (``module``, ``parse``, ``load``, ``render``). ``REQUESTS`` is a named pipe
with a line of JSON per request, ``{"argv": [...], "op": "load" | "render"}``; each is answered by a line of JSON in the
file ``ANSWERS``.
"""

import importlib
import json
import sys
import time
import traceback
from pathlib import Path


def main() -> None:
    spec, requests, answers = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    sys.path[0] = str(Path.cwd())
    sys.argv = [spec["module"]]
    module = importlib.import_module(spec["module"])
    parse, load, render = (getattr(module, spec[name]) for name in ("parse", "load", "render"))
    state: tuple[object, ...] = ()
    with Path(requests).open(encoding="utf-8") as pipe, Path(answers).open("a", encoding="utf-8") as sink:
        for line in pipe:
            request = json.loads(line)
            began = time.monotonic()
            try:
                sys.argv = [spec["module"], *request["argv"]]
                args = parse()
                if request["op"] == "load":
                    loaded = load(args)
                    state = loaded if isinstance(loaded, tuple) else (loaded,)
                else:
                    render(args, *state)
                answer: dict[str, object] = {}
            except SystemExit as error:
                # argparse ends the program; the model stays loaded all the same.
                answer = {"error": f"it ended with status {error.code}; its output says why"}
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answer["seconds"] = round(time.monotonic() - began, 3)
            sink.write(json.dumps(answer) + "\n")
            sink.flush()


if __name__ == "__main__":
    main()
