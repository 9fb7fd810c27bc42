"""Before a run: is the server the one the settings speak of, and does it show videos as they say?

One tokenize request with two bundled clips costs the server no generation. The long one (100 frames at 25 per second,
1280x720) shows how many frames are taken, when, and how they are scaled down; the short one (20 frames at 10 per
second, 320x320) shows whether a clip of few frames is sampled a second time.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import JudgeError
from interbench.base.foreign import MAX_NAME, mapped, mended, whole
from interbench.base.models_list import served_models
from interbench.judge.vlm.client import AccessError, Server, UnavailableError, UnusableError
from interbench.judge.vlm.frames import PER_PROMPT, Sampling, View, Vocabulary, difference, expected_view, views
from interbench.judge.vlm.messages import image_part, video_part

_FOLDER = Path(__file__).parent / "probe_clips"
_CLIPS = (("long.mp4", 100, 25.0, 1280, 720), ("short.mp4", 20, 10.0, 320, 320))


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says it is."""

    model: str
    """The name to ask for."""
    root: str | None
    """The checkpoint behind that name, if the server says so."""
    context: int | None
    """Tokens of prompt and answer together."""
    engine: str
    """``vllm 0.33.0``, or empty if it is another engine."""

    @property
    def is_vllm(self) -> bool:
        return self.engine.startswith("vllm")


async def served(server: Server, model: str | None) -> Served:
    """Ask the server what it serves.

    Args:
        model: the name to use; None for the only one there is.

    Raises:
        JudgeError: it can't be reached, or does not serve the model.
    """
    models = await _listed(server, named=model is not None)
    if model is None:
        if models is None or len(models) != 1:
            names = f"serves {', '.join(sorted(models)[:8])}" if models else "does not list its models at /v1/models"
            raise JudgeError(
                f"The judge's server {server.url} {names}. Check the address, which is the one before /v1, and name "
                f"the model to use: INTERBENCH_JUDGE_MODEL in the environment, or model under [judge_options] in the "
                f"settings file."
            )
        model = next(iter(models))
    elif models is not None and model not in models:
        names = ", ".join(sorted(models)[:8]) or "none"
        raise JudgeError(f"The judge's server {server.url} does not serve {model!r}; it serves: {names}.")
    entry = (models or {}).get(model, {})
    engine = ""
    if entry.get("owned_by") == "vllm":
        version = mapped(await server.get("/version")).get("version", "of unknown version")
        engine = f"vllm {mended(str(version), MAX_NAME)}"
    root = entry.get("root")
    return Served(model, root if isinstance(root, str) else None, whole(entry.get("max_model_len"), 1), engine)


async def _listed(server: Server, *, named: bool) -> Mapping[str, Mapping[str, Any]] | None:
    """The models that the server says it serves; None if it has no list of them. A model that is ``named`` needs none,
    so that only a server that isn't there, or doesn't know us, is trouble.

    Raises:
        JudgeError: it can't be used.
    """
    try:
        return served_models(await server.get("/v1/models"))
    except (UnavailableError, UnusableError):
        raise
    except AccessError as refused:
        # Some keys may ask a model and not see the list of models.
        if named and refused.status == 403:
            return None
        raise
    except JudgeError:
        if named:
            return None
        raise


async def check_frames(
    server: Server, what: Served, sampling: Sampling, *, portrait: bool = False
) -> Vocabulary | None:
    """Assert that the server shows videos as ``sampling`` says; None if it has no way to tell.

    Args:
        portrait: whether a picture of the person who was asked for will be shown as well.

    Raises:
        JudgeError: what the model would see differs; the message says how and with which flags to start the server.
    """
    content: list[dict[str, Any]] = [video_part(_FOLDER / name, "data", None) for name, *_ in _CLIPS]
    # All digits, so that every time mark of later prompts can be read.
    content.append({"type": "text", "text": " 0 1 2 3 4 5 6 7 8 9 "})
    try:
        answer = await _expanded(server, what, content)
    except JudgeError:
        if what.is_vllm:
            raise
        # Other engines have a page of that name for other questions.
        return None
    if answer is None:
        return None
    ids, texts = answer.get("tokens"), answer.get("token_strs")
    if not isinstance(ids, list) or not isinstance(texts, list) or len(ids) != len(texts):
        return None
    vocabulary = Vocabulary.learned(ids, texts)
    seen = views(ids, vocabulary) if vocabulary is not None else []
    if len(seen) != len(_CLIPS):
        raise JudgeError(
            f"The judge's server {server.url} does not show videos the way Qwen3-VL does, so the frames and pixels "
            f"that the model sees can't be checked. Serve a Qwen3-VL checkpoint, or turn the check off (verify_frames) "
            f"and live with unverified settings."
        )
    for view, (_, frames, fps, width, height) in zip(seen, _CLIPS, strict=True):
        check(server.url, view, expected_view(sampling, frames, fps, width, height), sampling, f"{width}x{height}")
    if portrait:
        await _require_pictures(server, what)
    return vocabulary


async def _expanded(server: Server, what: Served, content: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    request = {"model": what.model, "messages": [{"role": "user", "content": content}], "return_token_strs": True}
    return await server.post("/tokenize", json.dumps(request).encode())


async def _require_pictures(server: Server, what: Served) -> None:
    try:
        await _expanded(server, what, [image_part(_FOLDER / "portrait.png"), {"type": "text", "text": "?"}])
    except (UnavailableError, AccessError):
        raise
    except JudgeError as error:
        limits = shlex.quote(json.dumps(dict(PER_PROMPT)))
        raise JudgeError(
            f"The judge's server {server.url} takes no pictures, and in this mode the judge is shown the portrait of "
            f"the person who was asked for. Start it with --limit-mm-per-prompt {limits}, as `interbench judge-server` "
            f"does, or judge with --judge-mode published. It said: {error}"
        ) from None


def check(url: str, seen: View, expected: View, sampling: Sampling, clip: str) -> None:
    """Raise :class:`JudgeError` if a clip is not seen as it should be."""
    wrong = difference(seen, expected)
    if not wrong:
        return
    media, processor = (shlex.quote(json.dumps(value)) for value in sampling.server_settings())
    raise JudgeError(
        f"The judge's server {url} does not show videos as the settings say ({sampling.frames} frames of up to "
        f"{sampling.size}x{sampling.size} pixels): of the clip {clip} the model would see {wrong}. Start the server "
        f"with --media-io-kwargs {media} --mm-processor-kwargs {processor}, as `interbench judge-server` does, or set "
        f"frames and size to what it is meant to show."
    )
