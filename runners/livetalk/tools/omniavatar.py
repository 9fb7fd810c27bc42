"""A talking clip as OmniAvatar makes it: the bidirectional model, all frames of a window at once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

from livetalk.base.errors import AudioError, OptionError, OutputError, SessionError
from livetalk.base.rates import AUDIO_RATE
from livetalk.render.encoders.image import PictureSize, preprocess
from livetalk.render.omniavatar.clip import ClipConditions, ClipSettings, encode_speech, render
from livetalk.render.omniavatar.windows import WindowPlan
from livetalk.render.pipeline import RANDOM_NOTE, Models
from livetalk.sound.files import padded, read_audio
from livetalk.tools.generate import ClipReport
from livetalk.video.mux import SOUND_RATE, VideoWriter, require_writable


def plan_omniavatar(samples: int, settings: ClipSettings, seconds: float | None = None) -> WindowPlan:
    """Windows that cover the audio, or ``seconds`` of it (beyond its end, silence).

    Raises:
        AudioError: there is no audio.
        SessionError: ``seconds`` is no length.
        OptionError: overlap and window do not go together.
    """
    if seconds is not None and not 0 < seconds < math.inf:
        raise SessionError(f"A clip of {seconds} seconds can't be made; give a number above 0.")
    if not samples:
        raise AudioError("The audio holds no samples, so there is nothing to speak. Give a file with sound in it.")
    try:
        return settings.plan(samples if seconds is None else round(seconds * AUDIO_RATE))
    except ValueError as error:
        raise OptionError(str(error)) from error


def picture_size(image: Path | bytes, sizes: tuple[PictureSize, ...]) -> PictureSize:
    """The one of ``sizes`` whose shape is nearest to the picture's.

    Raises:
        ImageError: the picture can't be used.
    """
    height, width = preprocess(image, sizes).shape[-2:]
    return height, width


def generate_omniavatar(
    models: Models,
    settings: ClipSettings,
    *,
    image: Path | bytes,
    audio: Path | bytes,
    prompt: str,
    output: Path,
    seed: int,
    seconds: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ClipReport:
    """Generate and write one clip.

    Its first frame is the picture; the silence and the speech begin one frame later, as published.

    Args:
        progress: called after every denoising step with the steps done and to do.

    Raises:
        LiveTalkError: an input can't be used; nothing is written then.
    """
    samples = read_audio(audio)
    plan = plan_omniavatar(len(samples), settings, seconds)
    picture = preprocess(image, (settings.size,))
    require_writable(output)
    wanted = samples if seconds is None else padded(samples, round(seconds * AUDIO_RATE))
    conditions = ClipConditions(
        reference=models.vae.encode_image(picture),
        context=models.encode_prompt(prompt),
        negative=models.encode_prompt(settings.negative_prompt),
        features=encode_speech(models.speech, settings.led_in(wanted), plan),
    )
    height, width = settings.size
    sound = settings.delayed(read_audio(audio, SOUND_RATE), SOUND_RATE)
    sound = padded(sound, plan.output_frames * SOUND_RATE // settings.fps)
    metadata = {"comment": _comment(models, settings, prompt, seed)}
    began, first = time.perf_counter(), 0.0
    frames = render(models.dit, models.vae, settings, plan, conditions, seed=seed, progress=progress)
    try:
        with VideoWriter(output, width, height, sound=sound, fps=settings.fps, metadata=metadata) as writer:
            for some in frames:
                first = first or time.perf_counter() - began
                writer.write(some.cpu().numpy())
    except OSError as error:
        raise OutputError(f"{output} could not be written to its end: {error.strerror or error}.") from error
    return ClipReport(
        output,
        plan.output_frames,
        plan.output_frames / settings.fps,
        models.weights,
        "whole clip",
        first,
        time.perf_counter() - began,
    )


def _comment(models: Models, settings: ClipSettings, prompt: str, seed: int) -> str:
    """What a viewer of the file should know, as one line of JSON."""
    about = {
        "made_with": "livetalk",
        "weights": models.weights,
        **({"note": RANDOM_NOTE} if models.random else {}),
        "seed": seed,
        "steps": settings.steps,
        "text_scale": settings.guidance.text,
        "audio_scale": settings.guidance.audio,
        "overlap": settings.overlap,
        "max_tokens": settings.max_tokens,
        "lead_silence": settings.lead_silence,
        "dtype": str(models.dit.dtype).removeprefix("torch."),
        "negative_prompt": settings.negative_prompt,
        "prompt": prompt,
    }
    return json.dumps(about, ensure_ascii=False)
