"""From the clip that a system hands over to the clip of the run: staged, checked, adopted, recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from interbench.base.errors import MediaError
from interbench.base.foreign import whole
from interbench.domain.records import ClipFacts, Exchange
from interbench.drive import live
from interbench.drive.listening import Observed
from interbench.drive.turn_record import refused
from interbench.media.pool import MediaPool, first_frame_time, first_speech_time
from interbench.store.run_folder import Key, Run, Staged
from interbench.store.trouble import require_room
from interbench.systems.events import Completed, JsonValue

_LEAST_SHARE = 0.9
"""Of the frames that a system says it sent; with fewer an answer was cut short."""


class Accepting:
    """Takes clips into the run.

    Args:
        run: the run folder, open for writing.
        media: where clips are checked.
        keeps_jobs: whether a job whose clip can't be used stays open, to be fetched again.
    """

    def __init__(self, run: Run, media: MediaPool, keeps_jobs: Callable[[], bool]) -> None:
        self._run = run
        self._media = media
        self._keeps_jobs = keeps_jobs

    async def accept(
        self, key: Key, observed: Observed, exchange: Exchange, workdir: Path, state: JsonValue
    ) -> Exchange:
        """Stage, check, adopt and record a clip that the system says is complete."""
        final = observed.final
        assert isinstance(final, Completed)
        try:
            if observed.refused is not None:
                raise observed.refused
            path = clip_inside(final.path, observed.stream, workdir)
        except MediaError as error:
            failed = refused(exchange, error)
            self._run.record(failed, state, keep_jobs=self._keeps_jobs())
            return failed
        staged = Staged(exchange, self._run.path / path.relative_to(self._run.path.resolve()), state)
        kept = exchange
        if observed.arrivals and exchange.timings is not None:
            # When the pieces came is known to this process alone: whoever takes the clip up has no latencies for it.
            kept = dataclasses.replace(exchange, timings=dataclasses.replace(exchange.timings, resumed=True))
        self._run.stage(kept, staged.path, state)
        return await self._check(staged, observed.arrivals, observed.facts)

    def keep_face(self, key: Key, observed: Observed, workdir: Path) -> None:
        """Keep the still of whom the system shows instead of the persona, if it is a file in the turn's folder."""
        if observed.shown is None:
            return
        with contextlib.suppress(MediaError):
            self._run.keep_face(key.system, key.scenario, clip_inside(observed.shown, None, workdir))
            observed.detail["shows"] = self._run.relative(self._run.face_path(key.system, key.scenario))

    async def finish_staged(self, staged: Staged) -> Exchange | None:
        """Take up a clip whose check was interrupted; None if its file is gone and it has to be made again."""
        key = Key(staged.exchange.system, staged.exchange.scenario, staged.exchange.turn)
        final_path = self._run.clip_path(key, staged.path.suffix.lower())
        if not staged.path.exists() and final_path.exists():
            staged = dataclasses.replace(staged, path=final_path)
        if not staged.path.exists():
            self._run.unstage(key)
            return None
        return await self._check(staged, ())

    async def _check(
        self, staged: Staged, arrivals: Sequence[tuple[int, float]], known: ClipFacts | None = None
    ) -> Exchange:
        exchange = staged.exchange
        key = Key(exchange.system, exchange.scenario, exchange.turn)
        try:
            facts = known or await self._media.inspect(staged.path)
            if short := _lacking(exchange, facts):
                raise MediaError("cut_short", short)
        except MediaError as error:
            require_room(self._run.path)
            exchange = refused(exchange, error)
        else:
            assert exchange.timings is not None
            # What the client could show is read off the media itself; a system's own word may be early.
            first = first_frame_time(arrivals, facts) if arrivals else exchange.timings.first_frame_s
            timings = (
                dataclasses.replace(
                    exchange.timings,
                    first_frame_s=first,
                    first_speech_s=first_speech_time(arrivals, facts, first),
                    no_speech=facts.no_speech,
                )
                if exchange.timings.first_speech_s is None or arrivals
                else live.heard(exchange.timings, facts)
            )
            clip = self._run.adopt(key, staged.path)
            exchange = dataclasses.replace(exchange, clip=self._run.relative(clip), facts=facts, timings=timings)
        # A clip that was paid for and can't be used stays to be fetched again; `jobs --forget` gives it up.
        self._run.record(exchange, staged.state, keep_jobs=not exchange.completed and self._keeps_jobs())
        if exchange.completed:
            # What a failed turn left behind (logs, half a file) stays for whoever looks into the failure.
            self._run.clear_work(key)
        return exchange


def clip_inside(path: Path | None, stream: Path | None, workdir: Path) -> Path:
    """The clip that a system handed back, if it is a regular file in the turn's own folder.

    Raises:
        MediaError: it lies elsewhere, is a link, or is no file.
    """
    if path is None:
        if stream is None:
            raise MediaError("missing", "the system says it is complete but sent neither a file nor media")
        return stream
    path = Path(path)
    absolute = path if path.is_absolute() else workdir / path
    lexical = Path(os.path.normpath(absolute))
    try:
        real = lexical.parent.resolve(strict=True) / lexical.name
        info = real.lstat()
    except OSError:
        raise MediaError("missing", f"the system says it wrote {absolute.name!r}, but there is no such file") from None
    if not real.is_relative_to(workdir):
        raise MediaError("outside", "the system handed back a file outside its working folder; it was not opened")
    if stat.S_ISLNK(info.st_mode):
        raise MediaError("symlink", "the system handed back a symbolic link; it was not followed")
    if not stat.S_ISREG(info.st_mode):
        raise MediaError("not_a_file", "the system handed back something that is not a regular file")
    return real


def _lacking(exchange: Exchange, facts: ClipFacts) -> str:
    """Why a clip that can be played is not all of the answer; empty if it is, or if nobody knows."""
    sent = whole(exchange.detail.get("frames_sent"))
    if sent is None or facts.frames >= _LEAST_SHARE * sent or facts.frames >= sent - 2:
        return ""
    return (
        f"the system sent {sent} frames by its own account, and {facts.frames} arrived: the answer was cut short on "
        f"its way, though its transfer ended in order. Look for a proxy between that ends responses early."
    )
