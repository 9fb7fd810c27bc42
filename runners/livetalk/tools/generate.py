"""A talking clip from a picture, speech and a prompt, written as it is made."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livetalk.base.errors import AudioError, OutputError, SessionError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import FRAMES_PER_BLOCK, ROPE_FRAMES, TEMPORAL_STRIDE, StreamConfig, video_frames
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import FRAME_SAMPLES, SpeechStream
from livetalk.render.model.graphs import Recorder
from livetalk.render.options import SpeedOptions
from livetalk.render.performer import FrameBlock, Performer, SeededNoise, split_features
from livetalk.render.pipeline import RANDOM_NOTE, Models
from livetalk.render.speed import make_fast
from livetalk.sound.files import Samples, frames_covering, padded, read_audio
from livetalk.video.mux import SOUND_RATE, VideoWriter, require_writable

SpeechMode = Literal["auto", "whole", "windows"]

COMPILED_BLOCKS = 40
"""From this length on a clip on a GPU is worth compiling for: 30 s of video."""

WHOLE_CLIP_SECONDS = 60.0
"""Up to this length ``auto`` encodes the speech as a whole, as released; memory and attention grow with the clip."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """How long a clip becomes."""

    frames: int
    """Video frames written."""
    blocks: int
    """Generated, the last perhaps in part for nothing."""

    @property
    def latent_frames(self) -> int:
        return FRAMES_PER_BLOCK * self.blocks

    @property
    def seconds(self) -> float:
        return self.frames / VIDEO_FPS


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What was made, and how fast."""

    path: Path
    frames: int
    seconds: float
    weights: str
    speech: str
    first_frame_seconds: float
    """From encoded picture, prompt and audio to the first block's frames."""
    generation_seconds: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.generation_seconds


def plan_clip(samples: int, stream: StreamConfig, seconds: float | None = None) -> ClipPlan:
    """Frames that cover the audio, or ``seconds`` of it (beyond its end, silence).

    Raises:
        AudioError: there is no audio.
        SessionError: absolute positions do not reach that far, or ``seconds`` is no length.
    """
    if seconds is not None and not 0 < seconds < math.inf:
        raise SessionError(f"A clip of {seconds} seconds can't be made; give a number above 0.")
    if not samples:
        raise AudioError("The audio holds no samples, so there is nothing to speak. Give a file with sound in it.")
    wanted = samples if seconds is None else round(seconds * AUDIO_RATE)
    frames = max(1, frames_covering(wanted, VIDEO_FPS))
    first = video_frames(FRAMES_PER_BLOCK)
    plan = ClipPlan(frames, 1 + math.ceil(max(0, frames - first) / (TEMPORAL_STRIDE * FRAMES_PER_BLOCK)))
    if stream.position == "absolute" and plan.latent_frames > ROPE_FRAMES:
        reach = video_frames(ROPE_FRAMES // FRAMES_PER_BLOCK * FRAMES_PER_BLOCK) / VIDEO_FPS
        raise SessionError(
            f"The clip would last {plan.seconds:.2f} s, but absolute positions end at {ROPE_FRAMES} latent frames "
            f"({reach:.2f} s). Use --position bounded, which has no end, or cut the clip with --seconds."
        )
    return plan


def generate_clip(
    models: Models,
    stream: StreamConfig,
    *,
    image: Path | bytes,
    audio: Path | bytes,
    prompt: str,
    output: Path,
    seed: int,
    seconds: float | None = None,
    speech: SpeechMode,
    fast: SpeedOptions | None = None,
    overlap: bool = True,
    graphs: bool | Recorder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClipReport:
    """Generate and write one clip.

    The frames cover the audio to its last sample; the given sound goes into the file at 48 kHz.

    Args:
        fast: what is done to be faster; by default what serving does, but nothing is compiled for a short clip.
        graphs: as ``Performer`` has it. Only blocks that come again are recorded, and none while another is decoded.
        progress: called after every block with the blocks written and to write.

    Raises:
        LiveTalkError: an input can't be used; nothing is written then.
    """
    samples = read_audio(audio)
    plan = plan_clip(len(samples), stream, seconds)
    stream = stream.for_clip(plan.latent_frames)
    picture = preprocess(image, ((stream.height, stream.width),), middle=stream.middle)
    require_writable(output)
    whole = speech == "whole" or (speech == "auto" and plan.seconds <= WHOLE_CLIP_SECONDS)
    how = "whole clip" if whole else "windows"
    context = models.encode_prompt(prompt)
    reference = models.vae.encode_image(picture)
    fast = fast or SpeedOptions()
    make_fast(
        models,
        stream,
        compiled=False if fast.compiled is None and not worth_compiling(stream, plan) else fast.compiled,
        mode=fast.compile_mode,
        float8=fast.float8,
        tune=fast.tune or False,
    )
    performer = Performer(
        models.dit,
        models.vae.decoder_stream(graphs=fast.decoder_graph),
        stream,
        overlap=overlap,
        graphs=graphs,
        decode_device=models.vae.device,
    )
    if fast.decoder_graph and models.vae.device.type == "cuda":
        performer.warm_up(blocks=min(2, plan.blocks))  # the decoder is recorded while nothing else is at work
    performer.start(context, reference, SeededNoise(seed, models.dit.device))
    sound = padded(read_audio(audio, SOUND_RATE), plan.frames * SOUND_RATE // VIDEO_FPS)
    metadata = {"comment": _comment(models, stream, prompt, seed, how)}
    began, first = time.perf_counter(), 0.0
    try:
        with VideoWriter(output, stream.width, stream.height, sound=sound, metadata=metadata) as writer:
            for block in _blocks(models, performer, samples, plan, whole):
                first = first or time.perf_counter() - began
                writer.write(block.frames[: plan.frames - writer.frames].numpy())
                if progress is not None:
                    progress(block.index + 1, plan.blocks)
    except OSError as error:
        raise OutputError(f"{output} could not be written to its end: {error.strerror or error}.") from error
    return ClipReport(output, plan.frames, plan.seconds, models.weights, how, first, time.perf_counter() - began)


def worth_compiling(stream: StreamConfig, plan: ClipPlan) -> bool:
    """Whether compiling pays for one clip: not for a short one, and not where every block has a cache of its own length
    and would be compiled for itself."""
    return plan.blocks >= COMPILED_BLOCKS and stream.window < plan.latent_frames


def _blocks(
    models: Models, performer: Performer, samples: Samples, plan: ClipPlan, whole: bool
) -> Iterator[FrameBlock]:
    if whole:
        # Silence up to the last block's end, so that the released encoder does not stretch the speech over it.
        complete = padded(samples, (video_frames(plan.latent_frames) - 1) * FRAME_SAMPLES)
        return performer.blocks(split_features(models.speech.whole_clip(complete, plan.latent_frames)))
    wanted = padded(samples, plan.frames * FRAME_SAMPLES)
    second = (wanted[start : start + AUDIO_RATE] for start in range(0, len(wanted), AUDIO_RATE))
    return performer.perform(second, SpeechStream(models.speech))


def _comment(models: Models, stream: StreamConfig, prompt: str, seed: int, speech: str) -> str:
    """What a viewer of the file should know, as one line of JSON."""
    settings = {
        "made_with": "livetalk",
        "weights": models.weights,
        **({"note": RANDOM_NOTE} if models.random else {}),
        "seed": seed,
        "window": stream.window,
        "sink": stream.sink,
        "steps": stream.steps,
        "position": stream.position,
        "speech": speech,
        "dtype": str(models.dit.dtype).removeprefix("torch."),
        "prompt": prompt,
    }
    return json.dumps(settings, ensure_ascii=False)
