"""The command line: verbs only. Each calls one function elsewhere; imports are lazy so that ``--help`` is quick."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livetalk.live.settings import DEFAULT_PROMPT

if TYPE_CHECKING:
    import torch

    from livetalk.thinkers.base import Thinker

app = typer.Typer(
    name="livetalk",
    help="A talking avatar, rendered block by block in real time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class SizeName(enum.StrEnum):
    large = "1.3B"
    mid = "mid"
    tiny = "tiny"


class Position(enum.StrEnum):
    absolute = "absolute"
    bounded = "bounded"


class Speech(enum.StrEnum):
    auto = "auto"
    whole = "whole"
    windows = "windows"


class ThinkerKind(enum.StrEnum):
    script = "script"
    vllm_omni = "vllm-omni"
    chat = "chat"
    qwen_omni = "qwen-omni"


class LogLevel(enum.StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"


class Precision(enum.StrEnum):
    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


Checkpoints = Annotated[
    Path,
    typer.Option(
        envvar="LIVETALK_CHECKPOINTS", help="Folder of the published checkpoints, as `livetalk download` fills it."
    ),
]
Device = Annotated[str, typer.Option(help="cuda, cuda:1, cpu; auto is a GPU if there is one.")]
DecodeDevice = Annotated[
    str | None, typer.Option(help="Where frames are decoded, e.g. a second GPU; that of --device if not given.")
]
ModelSize = Annotated[SizeName, typer.Option(help="1.3B is the published model; mid and tiny have random weights.")]
Dtype = Annotated[Precision, typer.Option(help="auto is bfloat16 on a GPU and float32 on a CPU.")]
Attention = Annotated[str, typer.Option(help="auto, fa3, fa2, sdpa, cudnn, flash or math.")]
VideoEncoder = Annotated[str, typer.Option(help="Video encoder: libx264, h264_nvenc; auto is the GPU's if it has one.")]
Thinking = Annotated[
    ThinkerKind,
    typer.Option(
        help="Who thinks and speaks: script (fixed answers, espeak-ng; needs no model), vllm-omni (Qwen3-Omni behind "
        "vLLM-Omni), chat (an OpenAI-compatible chat model and speech endpoint), qwen-omni (Qwen3-Omni in this "
        "process)."
    ),
]
ThinkerUrl = Annotated[
    str | None, typer.Option(help="vllm-omni, chat: root of the API, e.g. http://127.0.0.1:8091/v1.")
]
ThinkerModel = Annotated[
    str | None, typer.Option(help="Name of the served model; for qwen-omni a folder or a name on the hub.")
]
ThinkerDevice = Annotated[str | None, typer.Option(help="qwen-omni: where it runs.")]
SpeechUrl = Annotated[
    str | None, typer.Option(help="chat: root of the API that speaks. [default: that of the thinker]")
]
SpeechModel = Annotated[str | None, typer.Option(help="chat: the model that speaks.")]
TranscribeUrl = Annotated[
    str | None, typer.Option(help="chat: root of an API that writes down spoken turns, for models that cannot hear.")
]
Script = Annotated[Path | None, typer.Option(help="script: file with the answers, one per line, in order.")]


@app.command()
def generate(
    image: Annotated[Path, typer.Option(help="Portrait: PNG, JPEG, WebP and others.")],
    audio: Annotated[Path, typer.Option(help="Speech: WAV, FLAC, MP3, M4A and others, any rate, any length.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The MP4 to write.")],
    prompt: Annotated[str, typer.Option(help="What the video shows.")] = DEFAULT_PROMPT,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the noise; the same seed gives the same video.")
    ] = 0,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.0625, max=86_400, help="Length; beyond the audio's end, silence. [default: the audio's length]"
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(help="Latent frames attended to, the current block included; -1 keeps all.")
    ] = 15,
    sink: Annotated[int, typer.Option(help="First latent frames kept for ever as identity anchors.")] = 9,
    steps: Annotated[
        int, typer.Option(min=1, max=50, help="Denoising steps per block; the model was distilled for 4.")
    ] = 4,
    position: Annotated[
        Position, typer.Option(help="absolute is the release, up to 255 s; bounded has no end.")
    ] = Position.absolute,
    speech: Annotated[
        Speech,
        typer.Option(help="Speech features of the whole clip, as released, or in windows; auto is whole up to 60 s."),
    ] = Speech.auto,
    size: ModelSize = SizeName.large,
    dtype: Dtype = Precision.auto,
    device: Device = "auto",
    text_device: Annotated[
        str | None, typer.Option(help="Where the prompt is encoded, e.g. cpu to spare 12 GB of GPU memory.")
    ] = None,
    decode_device: DecodeDevice = None,
    attention: Attention = "auto",
    checkpoints: Checkpoints = Path("pretrained_checkpoints"),
) -> None:
    """Make a talking clip from a picture, speech and a prompt."""
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from livetalk.render.checkpoint import CheckpointFiles
    from livetalk.render.config import size as named_size
    from livetalk.render.encoders.image import preprocess
    from livetalk.render.pipeline import load_models, random_models
    from livetalk.sound.files import read_audio
    from livetalk.tools.generate import generate_clip, plan_clip
    from livetalk.video.mux import require_writable

    chosen = named_size(size)
    try:
        stream = replace(chosen.stream, window=window, sink=sink, steps=steps, position=position.value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    target = _device(device, size)
    precision = _dtype(dtype, target)
    decoder, texts = (None if place is None else _device(place, size) for place in (decode_device, text_device))
    console = Console(stderr=True)
    # Refuse before gigabytes are loaded.
    if not prompt.isascii() and prompt != prompt.encode(errors="replace").decode():
        raise typer.BadParameter("the prompt is not valid UTF-8")
    if output.resolve() in (image.resolve(), audio.resolve()):
        raise typer.BadParameter(f"{output} is one of the inputs and would be overwritten; choose another --output")
    _check_attention(attention, target, precision)
    plan = plan_clip(len(read_audio(audio)), stream, seconds)
    preprocess(image, ((stream.height, stream.width),))
    require_writable(output)
    with console.status("Loading the models"):
        if size is SizeName.large:
            models = load_models(
                CheckpointFiles.under(checkpoints),
                chosen,
                dtype=precision,
                device=target,
                text_device=texts,
                decode_device=decoder,
                attention=attention,
            )
        else:
            models = random_models(chosen, dtype=precision, device=target, decode_device=decoder, attention=attention)
    if models.random:
        console.print(
            f"The weights of size {size.value} are random: the clip shows that everything runs, and nothing else.",
            style="yellow",
        )
    columns = (SpinnerColumn(), TextColumn("blocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("blocks", total=plan.blocks)
        report = generate_clip(
            models,
            stream,
            image=image,
            audio=audio,
            prompt=prompt,
            output=output,
            seed=seed,
            seconds=seconds,
            speech=speech.value,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(
        f"{report.path}: {report.frames} frames, {report.seconds:.2f} s at {stream.width}x{stream.height}; "
        f"weights: {report.weights}; speech features: {report.speech}; {report.frames_per_second:.1f} frames/s, first "
        f"frames after {report.first_frame_seconds:.2f} s"
    )


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="Address to bind. Others than loopback can be reached from outside and need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8010,
    announce: Annotated[
        Path | None, typer.Option(help="Write url and pid to this file, as JSON, once the server listens.")
    ] = None,
    size: ModelSize = SizeName.large,
    checkpoints: Checkpoints = Path("pretrained_checkpoints"),
    device: Device = "auto",
    text_device: Annotated[
        str | None, typer.Option(help="Where prompts are encoded, e.g. cpu to spare 12 GB of GPU memory.")
    ] = None,
    decode_device: DecodeDevice = None,
    dtype: Dtype = Precision.auto,
    attention: Attention = "auto",
    window: Annotated[
        int, typer.Option(help="Latent frames attended to, the current block included; at most 21.")
    ] = 15,
    sink: Annotated[int, typer.Option(help="First latent frames kept for ever as identity anchors.")] = 9,
    steps: Annotated[
        int, typer.Option(min=1, max=50, help="Denoising steps per block; the model was distilled for 4.")
    ] = 4,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="At size 1.3B, too: shows what this machine can do, without checkpoints."
        ),
    ] = False,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile. [default: on a GPU]")
    ] = None,
    float8: Annotated[
        bool, typer.Option("--float8", help="8-bit linear layers: faster, not the release's numbers.")
    ] = False,
    encoder: VideoEncoder = "auto",
    prompt: Annotated[
        str, typer.Option(help="What the video shows, in conversations that do not say.")
    ] = DEFAULT_PROMPT,
    thinker: Thinking = ThinkerKind.script,
    thinker_url: ThinkerUrl = None,
    thinker_model: ThinkerModel = None,
    thinker_device: ThinkerDevice = None,
    speech_url: SpeechUrl = None,
    speech_model: SpeechModel = None,
    transcribe_url: TranscribeUrl = None,
    script: Script = None,
    voice: Annotated[str | None, typer.Option(help="The avatar's voice, in conversations that do not say.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the bearer token. [default: LIVETALK_TOKEN of the environment]")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Ask for no token, whatever the address.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further host name that requests may name, e.g. that of a proxy; may be repeated."),
    ] = None,
    max_sessions: Annotated[int, typer.Option(min=1, help="Conversations at once; further ones are refused.")] = 2,
    idle_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without a turn after which a conversation is closed.")
    ] = 300,
    max_age: Annotated[
        float, typer.Option(min=1, help="Seconds after which a conversation is closed at the end of its turn.")
    ] = 14_400,
    max_answer: Annotated[float, typer.Option(min=1, help="Seconds of speech after which an answer is cut.")] = 120,
    first_piece_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds the thinker has for its first word or sound.")
    ] = 30,
    stall_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds a client may take nothing of its answer before it is cut off.")
    ] = 30,
    max_turn_audio: Annotated[float, typer.Option(min=1, help="Seconds of sound in a turn.")] = 120,
    max_text: Annotated[int, typer.Option(min=1, help="Characters of text in a turn.")] = 4_000,
    max_upload: Annotated[float, typer.Option(min=0.01, help="MiB of a request; half of it for a picture.")] = 32,
    max_megapixels: Annotated[float, typer.Option(min=0.01, max=89, help="Size of a picture.")] = 50,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 64,
    log_level: Annotated[
        LogLevel, typer.Option(help="info writes a line per request, without any text.")
    ] = LogLevel.info,
) -> None:
    """Serve the avatar: a page for browsers at /, and the conversation protocol over HTTP."""
    import logging
    from dataclasses import replace

    from livetalk.live.engine import LiveSettings
    from livetalk.render.checkpoint import CheckpointFiles
    from livetalk.render.config import size as named_size
    from livetalk.render.pipeline import Models, load_models, random_models
    from livetalk.server import process
    from livetalk.server.guard import allowed_hosts
    from livetalk.server.limits import MIB, Limits
    from livetalk.server.service import ServerSettings, Service
    from livetalk.server.token import find_token

    token = find_token(host, token_file, waived=no_token)
    chosen, target = named_size(size), _device(device, size)
    precision = _dtype(dtype, target)
    decoder, texts = (None if place is None else _device(place, size) for place in (decode_device, text_device))
    try:
        stream = replace(chosen.stream, window=window, sink=sink, steps=steps, position=Position.bounded.value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    speaker = _thinker(context)
    random = random_weights or size is not SizeName.large

    def load() -> Models:
        if random:
            return random_models(chosen, dtype=precision, device=target, decode_device=decoder, attention=attention)
        return load_models(
            CheckpointFiles.under(checkpoints),
            chosen,
            dtype=precision,
            device=target,
            text_device=texts,
            decode_device=decoder,
            attention=attention,
        )

    settings = ServerSettings(
        size=chosen,
        device=target,
        live=LiveSettings(
            stream=stream,
            capacity=max_sessions,
            prompt=prompt,
            compiled=compiled,
            float8=float8,
            encoder=encoder,
            first_piece_s=first_piece_timeout,
            max_answer_s=max_answer,
            stall_s=stall_timeout,
        ),
        limits=Limits(
            body_bytes=round(max_upload * MIB),
            picture_bytes=round(max_upload * MIB / 2),
            picture_pixels=round(max_megapixels * 1e6),
            turn_audio_s=max_turn_audio,
            text_chars=max_text,
            stall_s=stall_timeout,
            idle_s=idle_timeout,
            age_s=max_age,
            connections=max_connections,
        ),
        token=token,
        hosts=allowed_hosts(host, allow_host or ()),
        version=_version(),
    )

    def listening(url: str) -> None:
        weights = "" if not random else " with random weights (the pictures mean nothing)"
        asks = "" if token is None else "; it asks for its token"
        typer.echo(f"livetalk {size.value}{weights}, thinker {thinker.value}, listens at {url}{asks}")

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("livetalk").setLevel(log_level.value.upper())
    process.serve(Service(settings, load, speaker), process.bind(host, port), announce=announce, listening=listening)


@app.command()
def parity(
    folder: Annotated[Path, typer.Argument(help="Fixture folder with manifest.json, weights and cases.")],
    device: Annotated[str, typer.Option(help="cpu or a CUDA device; on a GPU, TF32 is turned off.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Every comparison, as JSON.")] = False,
) -> None:
    """Compare this implementation with results of the published code, case by case."""
    from livetalk.tools import parity as parity_module

    results = parity_module.run(folder, _device(device, SizeName.large))
    if as_json:
        typer.echo(json.dumps([result.as_dict() for result in results], indent=1))
    else:
        typer.echo(parity_module.as_text(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


@app.command()
def bench(
    context: typer.Context,
    size: ModelSize = SizeName.large,
    device: Device = "auto",
    blocks: Annotated[int, typer.Option(min=1, help="Blocks measured, after the window has filled.")] = 10,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of the published checkpoints. [default: random weights, same arithmetic]"),
    ] = None,
    dtype: Dtype = Precision.auto,
    attention: Attention = "auto",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile. [default: on a GPU]")
    ] = None,
    float8: Annotated[
        bool, typer.Option("--float8", help="8-bit linear layers: faster, not the release's numbers.")
    ] = False,
    window: Annotated[int | None, typer.Option(help="Latent frames attended to.")] = None,
    sink: Annotated[int | None, typer.Option(help="Latent frames kept as anchors.")] = None,
    position: Position = Position.bounded,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="The whole live system instead: time to first frame and its parts, throughput, conversations at once, "
            "memory. The options below belong to it.",
        ),
    ] = False,
    turns: Annotated[int, typer.Option(min=3, help="live: turns whose time to first frame is taken.")] = 30,
    conversations: Annotated[int, typer.Option(min=1, help="live: conversations at once that are tried.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="live: how long each number of them is tried.")] = 30.0,
    encoder: VideoEncoder = "auto",
    thinker: Thinking = ThinkerKind.script,
    thinker_url: ThinkerUrl = None,
    thinker_model: ThinkerModel = None,
    thinker_device: ThinkerDevice = None,
    speech_url: SpeechUrl = None,
    speech_model: SpeechModel = None,
    transcribe_url: TranscribeUrl = None,
    script: Script = None,
    voice: Annotated[str | None, typer.Option(help="The avatar's voice.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure milliseconds per block, frames per second, time to first frame and memory."""
    target = _device(device, size)
    if size is SizeName.large and device == "auto" and target == "cpu":
        raise typer.BadParameter(
            "torch sees no CUDA device here, and size 1.3B is too large to be timed on a CPU: it takes some 20 GB and "
            "minutes per block. Choose --size mid or tiny, or say --device cpu if you mean it."
        )
    precision = None if dtype is Precision.auto else _dtype(dtype, target)
    if live:
        from livetalk.tools.live_bench import measure

        # Without a script of one's own the answers are long, so that blocks and not turns are measured.
        own = thinker is not ThinkerKind.script or script is not None or voice is not None
        speaker = _thinker(context)
        try:
            report = measure(
                size.value,
                target,
                speaker if own else None,
                weights,
                turns=turns,
                seconds=seconds,
                most=conversations,
                dtype=precision,
                attention=attention,
                compiled=compiled,
                float8=float8,
                window=window,
                sink=sink,
                encoder=encoder,
                progress=lambda text: typer.echo(text, err=True),
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        typer.echo(report.to_json() if as_json else report.to_text())
        return
    from livetalk.tools.bench import bench as run

    try:
        text = run(
            size.value,
            target,
            blocks,
            weights,
            as_json=as_json,
            dtype=precision,
            attention=attention,
            compiled=compiled,
            float8=float8,
            window=window,
            sink=sink,
            position=position.value,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(text)


@app.command()
def download(
    to: Annotated[Path, typer.Option(envvar="LIVETALK_CHECKPOINTS", help="Folder to fill.")] = Path(
        "pretrained_checkpoints"
    ),
    revision: Annotated[
        list[str] | None,
        typer.Option(help="REPOSITORY=COMMIT instead of the pinned one, or a tag or branch; may be repeated."),
    ] = None,
    needed_only: Annotated[
        bool, typer.Option("--needed-only", help="Leave out OmniAvatar-1.3B, which generation does not read.")
    ] = False,
) -> None:
    """Fetch the published checkpoints from the Hugging Face hub; run it again to go on after an interruption."""
    from livetalk.tools.download import download as fetch

    revisions = {}
    for entry in revision or []:
        name, separator, commit = entry.partition("=")
        if not (name and separator and commit):
            raise typer.BadParameter(f"{entry!r} is not of the form REPOSITORY=COMMIT")
        revisions[name] = commit
    fetch(to, revisions=revisions, needed_only=needed_only, announce=typer.echo)
    typer.echo(f"All there. `livetalk doctor --checkpoints {to}` checks the files.")


@app.command()
def doctor(
    checkpoints: Checkpoints = Path("pretrained_checkpoints"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check GPU, memory, disk, packages, codecs and files; exit status 1 if something is missing."""
    from dataclasses import asdict

    from livetalk.tools.doctor import examine, ready

    findings = examine(checkpoints)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<8} {finding.subject:<17} {finding.detail}")
    if not ready(findings):
        raise typer.Exit(1)


def _device(name: str, size: SizeName) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() and size is SizeName.large else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise typer.BadParameter(f"device {name!r} is unknown; use cpu, cuda, cuda:1 or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter(f"{name} cannot be used: torch sees no CUDA device here")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise typer.BadParameter(f"{name} cannot be used: torch sees {torch.cuda.device_count()} CUDA devices here")
    return name


def _thinker(context: typer.Context) -> Thinker:
    """What the thinker's options of `serve` and `bench` say."""
    from livetalk.thinkers.registry import make_thinker

    given = context.params
    return make_thinker(
        given["thinker"].value,
        url=given["thinker_url"],
        model=given["thinker_model"],
        speech_url=given["speech_url"],
        speech_model=given["speech_model"],
        transcribe_url=given["transcribe_url"],
        script=given["script"],
        voice=given["voice"],
        device=given["thinker_device"],
    )


def _check_attention(name: str, device: str, dtype: torch.dtype) -> None:
    import torch

    from livetalk.render.model.attention import choose_kernel

    if name == "auto":
        return
    try:
        choose_kernel(name, torch.device(device), dtype)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _dtype(precision: Precision, device: str) -> torch.dtype:
    import torch

    if precision is Precision.auto:
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtype: torch.dtype = getattr(torch, precision.value)
    return dtype


def _version() -> str:
    """Of the distribution that holds this package; of its project file in a source tree that is not installed."""
    import importlib.metadata
    import tomllib
    from contextlib import suppress

    name = "interbench"
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    with suppress(OSError, ValueError, KeyError):
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
        if project["name"] == name:
            return str(project["version"])
    return "unknown"


def main() -> None:
    """Entry point: errors a user can mend are printed as one paragraph, without a traceback."""
    from livetalk.base.errors import LiveTalkError
    from livetalk.base.streams import settle_streams

    settle_streams()
    try:
        app()
    except LiveTalkError as error:
        typer.echo(f"livetalk: {error}", err=True)
        sys.exit(1)
