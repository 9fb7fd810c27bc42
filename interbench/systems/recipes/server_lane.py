"""A checkout that is a server of its own: started once, and handed a request over HTTP for each turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import httpx

from interbench.base.http import BodyTooLongError, body_pieces, make_client, trouble
from interbench.base.remote import excerpt
from interbench.systems.recipes.lane import LOADING, Kept, Rendered, RenderError
from interbench.systems.recipes.process import Child
from interbench.systems.recipes.turn import Places, TurnFacts, prepare
from interbench.systems.recipes.view import Started, find_clip, link_checkout

_ASK_AGAIN_S = 0.2
_DYING_S = 10.0
_MOST_BYTES = 2 * 2**30
_ANSWER = "answer"


class ServerLane(Kept):
    """Starts the checkout's server on a port of this machine, waits until it says that it is ready, and posts turns.

    The clip is the body of the answer, where that is an MP4, or else the file that the recipe's pattern matches in the
    turn's folder, which the request may name as ``{workdir}``.
    """

    _port = 0

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _begin(self) -> Child:
        recipe, keep = self.setup.recipe, self.setup.recipe.keep
        assert keep is not None
        link_checkout(recipe, self.setup.home, self.folder, ("command.log",))
        self._port = _free_port()
        prepared = prepare(recipe, LOADING, self.places(self.folder))
        self.write_files(prepared, self.folder, leave=keep.file)
        child = Child(
            prepared.argv, cwd=self.folder, log=self._log(), env={**prepared.env, **self.setup.env}, gpu=self.setup.gpu
        )
        await child.start()
        try:
            await self._answers(keep.ready, child)
        except BaseException:
            await asyncio.shield(child.end())
            raise
        return child

    async def _answers(self, path: str, child: Child) -> None:
        async with make_client(10.0) as client:
            while True:
                try:
                    if (await client.get(self._url + path)).status_code == 200:
                        # Whoever answers may be another program, if this one could not have the port.
                        self._require(child, "before it had loaded")
                        return
                except httpx.HTTPError:
                    pass
                self._require(child, "before it had loaded")
                await asyncio.sleep(_ASK_AGAIN_S)

    async def _work(self, facts: TurnFacts, workdir: Path, nth: int) -> Rendered:
        recipe, keep, child = self.setup.recipe, self.setup.recipe.keep, self._child
        assert keep is not None and child is not None
        prepared = prepare(recipe, facts, self.places(workdir))
        self.write_files(prepared, workdir, leave=keep.file)
        started = Started.now(workdir)
        began = time.monotonic()
        answer = workdir / _ANSWER
        try:
            # However long a turn takes: who gives it up is who waits for it.
            async with make_client(httpx.Timeout(None, connect=10.0)) as client:
                await self._post(client, keep.path, prepared.files[keep.file], answer)
        except BodyTooLongError as error:
            raise RenderError("answer_too_long", f"the server's answer can't be taken: {error}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # A connection falls before its process is known to have ended.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await child.wait()
            why = f"the server did not answer ({trouble(error)}); its last line: {child.last_words()}"
            raise RenderError("no_answer" if child.running else "worker_died", why, transient=True) from None
        parts = {"rendered": round(time.monotonic() - began, 3)}
        with answer.open("rb") as file:
            is_clip = file.read(8)[4:] == b"ftyp"
        if is_clip:
            return Rendered(answer.rename(workdir / "rendered.mp4"), parts)
        answer.unlink()
        return Rendered(find_clip(workdir, prepared.glob, prepared.without, started), parts)

    async def _post(self, client: httpx.AsyncClient, path: str, body: str, answer: Path) -> None:
        headers = {"Content-Type": "application/json"}
        async with client.stream("POST", self._url + path, content=body.encode(), headers=headers) as response:
            with answer.open("wb") as sink:
                async for piece in body_pieces(response, _MOST_BYTES):
                    sink.write(piece)
        if response.status_code != 200:
            with answer.open("rb") as file:
                said = excerpt([file.read(2000).decode(errors="replace")])
            raise RenderError(f"status_{response.status_code}", f"the server answered {response.status_code}: {said}")

    def places(self, workdir: Path, files: Path | None = None) -> Places:
        return Places(str(self.setup.home), str(workdir), self.setup.python, port=str(self._port))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
