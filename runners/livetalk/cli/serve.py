"""``livetalk serve``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from livetalk.base.flags import Flag
from livetalk.cli.thinker import ThinkerOptions
from livetalk.cli.version import version
from livetalk.live.settings import MOST_LOOK_AHEAD, LiveSettings
from livetalk.render.config import StreamConfig
from livetalk.render.options import BUNDLED_NOTE, ModelOptions, SpeedOptions, StreamOptions
from livetalk.server.limits import MIB, Limits
from livetalk.tools.options import Encoder

_LIVE = LiveSettings()
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class AddressOptions:
    """Address, and who may use it."""

    host: Annotated[
        str, Flag("Address to bind. Others than loopback can be reached from outside and need a token.")
    ] = "127.0.0.1"
    port: Annotated[int, Flag("0 takes a free one.", minimum=0, maximum=65_535)] = 8010
    announce: Annotated[Path | None, Flag("Write url and pid to this file, as JSON, once the server listens.")] = None
    token_file: Annotated[
        Path | None, Flag("File that holds the bearer token.", default="LIVETALK_TOKEN of the environment")
    ] = None
    no_token: Annotated[bool, Flag("Ask for no token, whatever the address.")] = False
    allow_host: Annotated[
        tuple[str, ...],
        Flag("A further host name that requests may name, e.g. that of a proxy; may be repeated."),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning"], Flag("info writes a line per request, without any text.")
    ] = "info"

    def start_logging(self) -> None:
        """Let livetalk's own loggers write what is wanted."""
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
        logging.getLogger("livetalk").setLevel(self.log_level.upper())


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Conversations."""

    prompt: Annotated[str, Flag("What the video shows, in conversations that do not say.")] = _LIVE.prompt
    encoder: Encoder = _LIVE.encoder
    look_ahead: Annotated[
        int,
        Flag(
            "Video frames (1/16 s) of speech after a block that its pictures are made with. Each delays the first one.",
            minimum=0,
            maximum=MOST_LOOK_AHEAD,
        ),
    ] = _LIVE.look_ahead
    max_sessions: Annotated[int, Flag("Conversations at once; further ones are refused.", minimum=1)] = _LIVE.capacity
    max_answer: Annotated[float, Flag("Seconds of speech after which an answer is cut.", minimum=1)] = (
        _LIVE.max_answer_s
    )
    first_piece_timeout: Annotated[float, Flag("Seconds the thinker has for its first word or sound.", minimum=0.1)] = (
        _LIVE.first_piece_s
    )

    def apply(self, stream: StreamConfig, speed: SpeedOptions, stall_s: float) -> LiveSettings:
        """An engine's settings.

        Args:
            stream: what a block sees.
            speed: what makes blocks faster.
            stall_s: how long fragments wait for a client that reads nothing.
        """
        return LiveSettings(
            stream=stream,
            capacity=self.max_sessions,
            prompt=self.prompt,
            compiled=speed.compiled,
            compile_mode=speed.compile_mode,
            float8=speed.float8,
            tune=speed.tune,
            decoder_graph=speed.decoder_graph,
            first_alone=speed.first_alone,
            look_ahead=self.look_ahead,
            encoder=self.encoder,
            first_piece_s=self.first_piece_timeout,
            max_answer_s=self.max_answer,
            stall_s=stall_s,
        )


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """Limits of a client."""

    max_turn_audio: Annotated[float, Flag("Seconds of sound in a turn.", minimum=1)] = _LIMITS.turn_audio_s
    max_text: Annotated[int, Flag("Characters of text in a turn.", minimum=1)] = _LIMITS.text_chars
    max_upload: Annotated[float, Flag("MiB of a request; half of it for a picture.", minimum=0.01)] = (
        _LIMITS.body_bytes / MIB
    )
    max_megapixels: Annotated[float, Flag("Size of a picture.", minimum=0.01, maximum=89)] = (
        _LIMITS.picture_pixels / 1e6
    )
    max_connections: Annotated[int, Flag("Connections at once.", minimum=1)] = _LIMITS.connections
    idle_timeout: Annotated[float, Flag("Seconds without a turn after which a conversation is closed.", minimum=1)] = (
        _LIMITS.idle_s
    )
    max_age: Annotated[
        float, Flag("Seconds after which a conversation is closed at the end of its turn.", minimum=1)
    ] = _LIMITS.age_s
    stall_timeout: Annotated[
        float, Flag("Seconds a client may take nothing of its answer before it is cut off.", minimum=0.1)
    ] = _LIMITS.stall_s

    def apply(self) -> Limits:
        """The server's limits."""
        return Limits(
            body_bytes=round(self.max_upload * MIB),
            picture_bytes=round(self.max_upload * MIB / 2),
            picture_pixels=round(self.max_megapixels * 1e6),
            turn_audio_s=self.max_turn_audio,
            text_chars=self.max_text,
            stall_s=self.stall_timeout,
            idle_s=self.idle_timeout,
            age_s=self.max_age,
            connections=self.max_connections,
        )


def serve(
    address: AddressOptions,
    model: ModelOptions,
    stream: StreamOptions,
    speed: SpeedOptions,
    thinker: ThinkerOptions,
    live: LiveOptions,
    limits: LimitOptions,
) -> None:
    """Serve the avatar: a page for browsers at /, and the conversation protocol over HTTP."""
    from livetalk.base.memory import keep_few_arenas
    from livetalk.server import process
    from livetalk.server.guard import allowed_hosts
    from livetalk.server.service import ServerSettings, Service
    from livetalk.server.token import find_token

    keep_few_arenas()
    token = find_token(address.host, address.token_file, waived=address.no_token)
    choice = model.choose(or_bundled=True)
    choice.require_files()  # before an address is taken that nobody could use
    speaker = thinker.make()
    bounds = limits.apply()
    settings = ServerSettings(
        size=choice.size,
        device=choice.device,
        # A conversation has no end.
        live=live.apply(stream.apply(choice.size.stream, "bounded"), speed, bounds.stall_s),
        limits=bounds,
        token=token,
        hosts=allowed_hosts(address.host, address.allow_host),
        version=version(),
    )

    def listening(url: str) -> None:
        weights = "" if not choice.random else " with random weights (the pictures mean nothing)"
        asks = "" if token is None else "; it asks for its token"
        typer.echo(f"livetalk {choice.size.name}{weights}, thinker {thinker.thinker}, listens at {url}{asks}")
        if choice.bundled:
            typer.echo(BUNDLED_NOTE)

    address.start_logging()
    process.serve(
        Service(settings, choice.load, speaker),
        process.bind(address.host, address.port),
        announce=address.announce,
        listening=listening,
    )
