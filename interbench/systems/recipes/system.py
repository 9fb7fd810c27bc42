"""Systems that are driven by a recipe."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from interbench.base.errors import InterbenchError, MediaError, SystemLoadError
from interbench.domain.persona import Persona
from interbench.media.pool import MediaPool
from interbench.media.speech import Speech, SpeechError, read_wav, write_wav
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Completed, Event, Failed, JsonValue, ReplyText, TurnRequest
from interbench.systems.prompting import picture_prompt
from interbench.systems.recipes.checkout import check_files, check_interpreter, found_commit
from interbench.systems.recipes.lane import Lane, Rendered, RenderError, Setup, names_turn
from interbench.systems.recipes.lanes import make_lane
from interbench.systems.recipes.model import Recipe, load_recipe, read_recipe
from interbench.systems.recipes.portrait import write_png
from interbench.systems.recipes.turn import TurnFacts, UnfitValueError, read_facts
from interbench.systems.recipes.view import NoClipError

_PATIENCE = 4.0
"""A turn may take so many times what its recipe reckons with: other GPUs are slower than those it was measured on."""


_SEEDED_ONCE = "Its weights stay loaded and its noise is seeded once, so that a turn depends on those before it."


class RecipeSystem(AvatarSystem):
    """A published system, driven as its recipe says.

    Args:
        home: its checkout.
        python: the interpreter of its own environment; ``{home}/.venv/bin/python`` if not given.
        gpus: a process for each of these GPUs (indices); without it one process, with the GPUs that this program sees.
        keep: keep weights loaded from turn to turn, where the recipe knows how.
        process_seed: of processes that are kept: they are seeded once.
        env: variables added to the environment of its processes.
        start_timeout_s: for loading weights.
        timeout_s: for one turn, where that is to be another time than the recipe's.
        recipe: the file of a recipe of your own.
    """

    capabilities = Capabilities(inputs=frozenset({"image"}), reports_text=True)
    recipe_name: ClassVar[str] = ""
    """Of a bundled recipe; empty for the class that takes a file."""

    def __init__(
        self,
        home: str | None = None,
        *,
        python: str | None = None,
        gpus: Sequence[int] = (),
        keep: bool = True,
        process_seed: int = 0,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 3600.0,
        timeout_s: float | None = None,
        recipe: str | None = None,
    ) -> None:
        if recipe is not None:
            self.recipe: Recipe = read_recipe(Path(recipe))
        elif self.recipe_name:
            self.recipe = load_recipe(self.recipe_name)
        else:
            raise SystemLoadError(
                "Name the recipe's file: --set LABEL.recipe=my.toml (docs/recipes.md says how to write one)."
            )
        if len(set(gpus)) != len(gpus) or any(gpu < 0 for gpu in gpus):
            raise SystemLoadError(f"gpus = {list(gpus)} must be different indices of GPUs, such as [0, 1].")
        how = self.recipe.keep
        if how is not None and how.kind in ("fifo", "server") and (single := names_turn(self.recipe)):
            raise SystemLoadError(
                f"The recipe {self.recipe.name} keeps its process, and its command names what belongs to a single "
                f"turn: {', '.join(sorted(single))}."
            )
        if how is not None and how.kind == "server" and not keep:
            raise SystemLoadError(f"{self.recipe.name} is a server: it keeps its weights, and has no other way.")
        self.home = None if home is None else Path(home).expanduser().absolute()
        self._python = python
        self._gpus = tuple(gpus)
        self._keep = keep and how is not None
        self._seed = process_seed
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._timeout_s = timeout_s
        self._media = MediaPool()
        self._lanes: asyncio.Queue[Lane] = asyncio.Queue()
        self._all: list[Lane] = []
        self._commit: str | None = None
        self.capabilities = dataclasses.replace(
            type(self).capabilities,
            fps=self.recipe.clip.fps,
            max_concurrency=max(1, len(self._gpus)),
            seedable=self.recipe.seeded,
            max_duration_s=self.recipe.clip.cuts_at_s,
        )

    # -- what it says of itself -----------------------------------------------------------------------------------

    @property
    def python(self) -> str:
        """The interpreter of the checkout's own environment."""
        if self._python is not None:
            # Not resolved: an environment's interpreter is a link, and knows its environment by its name alone.
            return str(Path(self._python).expanduser().absolute())
        return f"{self.require_home()}/.venv/bin/python"

    @property
    def version(self) -> str:
        return self._commit or self.recipe.commit

    @property
    def takes_script(self) -> bool:
        return True

    @property
    def takes_speech(self) -> bool:
        return "speech" in self.recipe.needs

    @property
    def caveats(self) -> tuple[str, ...]:
        how = self.recipe.keep
        kept = [_SEEDED_ONCE] if self._keep and how is not None and how.kind == "fifo" and self.recipe.seeded else []
        return (f"Licence: {self.recipe.licence}.", *self.recipe.caveats, *kept)

    def settings(self) -> Mapping[str, JsonValue]:
        kind = self.recipe.keep.kind if self._keep and self.recipe.keep is not None else "process per turn"
        return {
            "recipe": self.recipe.name,
            "repository": self.recipe.repository,
            "recipe_commit": self.recipe.commit,
            "argv": list(self.recipe.argv),
            "loaded": kind,
            **({"process_seed": self._seed} if kind == "fifo" else {}),
        }

    def turn_deadline_s(self, speech_s: float | None) -> float | None:
        if self._timeout_s is not None:
            return self._timeout_s
        reckoned = self.estimate_gpu_s(speech_s or 0.0) or 0.0
        return max(self.recipe.cost.timeout_s, _PATIENCE * reckoned)

    def estimate_gpu_s(self, video_seconds: float) -> float | None:
        rate = self.recipe.cost.seconds_per_second
        return None if rate is None else rate * video_seconds

    # -- its life -------------------------------------------------------------------------------------------------

    def require_home(self) -> Path:
        """The checkout.

        Raises:
            SystemLoadError: nobody has said where it is.
        """
        if self.home is None:
            name = self.recipe.name
            raise SystemLoadError(
                f"Where is {name}? Clone https://github.com/{self.recipe.repository} at {self.recipe.commit[:8]} and "
                f'say so: --set "{name}.home=/path/to/checkout". `interbench recipe show {name}` says what it needs.'
            )
        return self.home

    async def start(self) -> None:
        home = self.require_home()
        checked = [*await asyncio.to_thread(lambda: list(check_files(self.recipe, home)))]
        checked.append(await check_interpreter(self.recipe, self.python))
        if wrong := [one.text for one in checked if one.level == "wrong"]:
            more = (
                f" (and {len(wrong) - 1} more; `interbench recipe check {self.recipe.name}`)" if len(wrong) > 1 else ""
            )
            raise SystemLoadError(f"The checkout of {self.recipe.name} is not ready: {wrong[0]}{more}.")
        for one in checked:
            if one.level == "note":
                self.tell(one.text)
        self._commit = found_commit(home) or f"recipe for {self.recipe.commit}"
        devices: list[str | None] = [_device(gpu) for gpu in self._gpus]
        for gpu in devices or [None]:
            setup = Setup(self.recipe, home, self.python, self._env, gpu, self._seed, self._start_timeout_s)
            self._all.append(make_lane(setup, keep=self._keep))
        if self._keep:
            self.tell(f"loading {len(self._all)} of {self.recipe.name}")
        await asyncio.gather(*(lane.ready() for lane in self._all))
        for lane in self._all:
            self._lanes.put_nowait(lane)

    async def stop(self) -> None:
        await asyncio.gather(*(lane.stop() for lane in self._all))
        await self._media.close()

    async def open(self, persona: Persona) -> Conversation:
        return _RecipeConversation(self, persona)

    async def take_lane(self) -> Lane:
        """A free lane that is ready for a turn; to be given back."""
        lane = await self._lanes.get()
        try:
            await lane.ready()
        except BaseException:
            self._lanes.put_nowait(lane)
            raise
        return lane

    def give_back(self, lane: Lane) -> None:
        self._lanes.put_nowait(lane)

    # -- one turn -------------------------------------------------------------------------------------------------

    async def lay_out(self, persona: Persona, turn: TurnRequest) -> TurnFacts:
        """Put portrait and speech into the turn's folder under its own names.

        Raises:
            RenderError: one of them is missing or can't be read.
        """
        if turn.speech is None:
            raise RenderError("no_speech", "the harness handed over no speech")
        try:
            speech = await asyncio.to_thread(read_wav, turn.speech)
        except SpeechError as error:
            raise RenderError("no_speech", str(error)) from None
        facts = read_facts(
            {
                "scenario": turn.scenario,
                "turn": turn.index,
                "seed": turn.seed,
                "prompt": picture_prompt(persona),
                "script": turn.script or "",
                "speech": {"samples": len(speech.samples), "rate": speech.rate},
            }
        )
        if "portrait" in self.recipe.needs:
            if turn.portrait is None:
                raise RenderError("no_portrait", f"{self.recipe.name} films a portrait, and this persona has none")
            await asyncio.to_thread(write_png, turn.portrait, turn.workdir / f"{facts.stem}.png")
        await asyncio.to_thread(self._lay_speech, turn.speech, speech, turn.workdir / f"{facts.stem}.wav", facts)
        return facts

    def _lay_speech(self, given: Path, speech: Speech, target: Path, facts: TurnFacts) -> None:
        padded_s = self._padded_s(facts)
        if padded_s is None:
            shutil.copyfile(given, target)
            return
        import numpy as np

        missing = max(0, round(padded_s * speech.rate) - len(speech.samples))
        write_wav(target, Speech(np.pad(speech.samples, (0, missing)), speech.rate))

    def _padded_s(self, facts: TurnFacts) -> float | None:
        name = self.recipe.pad_speech_to
        return float(self.recipe.numbers[name].of(facts.speech_s)) if name else None

    async def shaped(self, rendered: Rendered, facts: TurnFacts, workdir: Path) -> Path:
        """The clip as an answer: cropped, trimmed, with its sound.

        Raises:
            MediaError: it can't be decoded, or is not as the recipe says.
        """
        clip = self.recipe.clip
        padded = self._padded_s(facts)
        if clip.crop is None and not clip.trim_start_s and clip.mux is None and padded is None:
            return rendered.clip
        target = workdir / "answer.mp4"
        crop = None if clip.crop is None else (clip.crop.x, clip.crop.y, clip.crop.width, clip.crop.height)
        await self._media.reshape(
            rendered.clip,
            target,
            crop=crop,
            start_s=clip.trim_start_s,
            seconds=None if padded is None and clip.mux is None else facts.speech_s,
            speech=workdir / f"{facts.stem}.wav" if clip.mux == "speech" else None,
        )
        return target

    def notices(self, facts: TurnFacts) -> list[str]:
        """What is to be known of a turn of this length."""
        clip, found = self.recipe.clip, []
        if clip.cuts_at_s is not None and facts.speech_s > clip.cuts_at_s:
            found.append(
                f"the picture ends after {clip.cuts_at_s:g} s: {facts.speech_s - clip.cuts_at_s:.1f} s of the reply's "
                f"{facts.speech_s:.1f} s are not in the clip"
            )
        if clip.advised_s is not None and facts.speech_s > clip.advised_s:
            found.append(f"the reply lasts {facts.speech_s:.1f} s, and {clip.advised_why or 'that is long for it'}")
        return found


def _device(gpu: int) -> str:
    """A GPU as CUDA_VISIBLE_DEVICES names it; where that leaves some visible, they are counted from 0 as CUDA does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(gpu)
    entries = [entry.strip() for entry in visible.split(",") if entry.strip()]
    if gpu >= len(entries):
        raise SystemLoadError(
            f"gpus names {gpu}, and CUDA_VISIBLE_DEVICES leaves {len(entries)} visible ({visible!r}), counted from 0."
        )
    return entries[gpu]


class _RecipeConversation(Conversation):
    def __init__(self, system: RecipeSystem, persona: Persona) -> None:
        self._system = system
        self._persona = persona
        self._lane: Lane | None = None

    async def ready(self) -> None:
        if self._lane is None:
            self._lane = await self._system.take_lane()

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        system = self._system
        await self.ready()
        lane = self._lane
        assert lane is not None
        try:
            facts = await system.lay_out(self._persona, turn)
            rendered = await lane.render(facts, turn.workdir)
            clip = await system.shaped(rendered, facts, turn.workdir)
        except (UnfitValueError, RenderError, NoClipError, MediaError) as error:
            yield Failed(error.code, str(error), transient=getattr(error, "transient", False))
            return
        except InterbenchError as error:
            yield Failed("not_started", str(error), transient=True)
            return
        finally:
            self._release()
        if turn.script:
            yield ReplyText(turn.script)
        detail: dict[str, Any] = {"recipe": {"name": system.recipe.name, "commit": system.version, **rendered.detail}}
        if rendered.parts_s:
            detail["parts_s"] = rendered.parts_s
        if notices := system.notices(facts):
            detail["notices"] = notices
        yield Completed(clip, detail)

    def _release(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            self._system.give_back(lane)

    async def close(self) -> None:
        self._release()
