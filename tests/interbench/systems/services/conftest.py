"""The fake services, and how each adapter is told to use them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness_kit
import pytest
import video_services
from PIL import Image

from interbench.domain.records import Exchange
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.script import ScriptWriter
from interbench.drive.spending import Budget, Caps
from interbench.media.pool import MediaPool
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.events import FINAL_EVENTS, TurnRequest
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

VARIABLES = {f"TEST_{name.upper()}_KEY": key for name, key in video_services.KEYS.items()}


@dataclass(frozen=True)
class Adapter:
    """One way to use one system."""

    name: str
    system: str
    service: str
    path: str
    options: Mapping[str, Any]
    seconds: float
    price: float | None

    def table(self, services: video_services.VideoServices, **more: Any) -> dict[str, Any]:
        """Its ``[system.it]`` table."""
        return {
            "spec": self.system,
            "base_url": services.url + self.path,
            "key_env": f"TEST_{self.service.upper()}_KEY",
            "poll_s": 0.02,
            **self.options,
            **more,
        }


ADAPTERS = {
    adapter.name: adapter
    for adapter in (
        Adapter(
            "sora", "sora", "openai", "/openai/v1", {"size": "96x160", "seconds": 4, "price_usd_per_s": 0.1}, 4, 0.1
        ),
        Adapter("veo", "veo", "vertex", "/vertex", {"project": "proj", "seconds": 4, "price_usd_per_s": 0.4}, 4, 0.4),
        Adapter(
            "veo-gemini",
            "veo",
            "gemini",
            "/gemini",
            {"api": "gemini", "seconds": 4, "price_usd_per_s": 0.4, "reference": "words"},
            4,
            0.4,
        ),
        Adapter("omni", "gemini-omni", "gemini", "/gemini", {"seconds": 3, "price_usd_per_s": 0.1}, 3, 0.1),
        Adapter("heygen", "heygen", "heygen", "/heygen", {"price_usd_per_s": 0.05}, 3, 0.05),
        Adapter("hedra", "hedra", "hedra", "/hedra", {"model": "m1", "price_usd_per_s": 0.07}, 3, 0.07),
    )
}


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


@pytest.fixture
def adapters() -> Mapping[str, Adapter]:
    return ADAPTERS


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[video_services.VideoServices]:
    for variable, key in VARIABLES.items():
        monkeypatch.setenv(variable, key)
    for variable in ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT", "OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with video_services.running() as running:
        yield running
    assert running.violations == []


@pytest.fixture
def scenario_set(tmp_path: Path) -> Path:
    """Two scenarios of two turns; their persona has a portrait."""
    folder = harness_kit.write_set(tmp_path / "set", count=2, turns=2)
    Image.radial_gradient("L").resize((200, 200)).convert("RGB").save(folder / "tess.png")
    personas = folder / "personas.jsonl"
    personas.write_text(personas.read_text().replace('"id"', '"portrait": "tess.png", "id"', 1))
    return folder


@pytest.fixture
def planned_scenarios(scenario_set: Path) -> tuple[PlannedScenario, ...]:
    whole = load_set(str(scenario_set))
    return plan_scenarios(whole, whole)


@pytest.fixture
def play(
    tmp_path: Path,
    services: video_services.VideoServices,
    planned_scenarios: tuple[PlannedScenario, ...],
    media: MediaPool,
) -> Callable[..., Any]:
    """Play scenarios with an adapter through the real driver; gives exchanges, and leaves the ledger in ``out``."""

    async def play(
        adapter: Adapter,
        *,
        count: int = 1,
        turns: int | None = None,
        deadline_s: float = 120.0,
        caps: Caps | None = None,
        out: str = "out",
        **options: Any,
    ) -> list[Exchange]:
        spec = SystemSpec(
            "it", adapter.system, {k: v for k, v in adapter.table(services, **options).items() if k != "spec"}
        )
        host = Host(spec.factory())
        await host.start()
        exchanges: list[Exchange] = []
        try:
            with Run(tmp_path / out, write=True) as run:
                writer = ScriptWriter(run, services.url + "/chat/v1", model="writer", words=9, key_env="TEST_CHAT_KEY")
                driver = Driver(
                    "it",
                    host,
                    run,
                    media,
                    DriveSettings(deadline_s=deadline_s),
                    budget=Budget(run, caps),
                    writer=writer,
                )
                for planned in planned_scenarios[:count]:
                    if turns is not None:
                        scenario = planned.scenario.model_copy(update={"turns": planned.scenario.turns[:turns]})
                        planned = PlannedScenario(
                            scenario, planned.persona, planned.audio, planned.portrait, planned.references
                        )
                    exchanges += [exchange async for exchange in driver.play(planned)]
        finally:
            await host.stop()
        return exchanges

    return play


Asked = tuple[Any, list[Any]]


@pytest.fixture
async def ask(
    tmp_path: Path, services: video_services.VideoServices, planned_scenarios: tuple[PlannedScenario, ...]
) -> AsyncIterator[Callable[..., Awaitable[Asked]]]:
    """Hand an adapter one turn, without driver and ledger: its final event, and those before it."""
    started: dict[tuple[str, str], Any] = {}
    counter = itertools.count(1)

    async def ask(adapter: Adapter, **options: Any) -> Asked:
        key = (adapter.name, repr(options))
        if key not in started:
            # Large portraits take time to be made.
            words = {"reference": "words"} if adapter.system in ("veo", "gemini-omni") else {}
            table = adapter.table(services, **{**words, **options})
            system = SystemSpec("it", adapter.system, {k: v for k, v in table.items() if k != "spec"}).factory()()
            await system.start()
            started[key] = system
        planned = planned_scenarios[0]
        workdir = tmp_path / f"turn-{next(counter)}"
        workdir.mkdir()
        turn = TurnRequest(
            scenario=planned.scenario.id,
            index=1,
            text=planned.scenario.turns[0].text,
            audio=None,
            history=(),
            portrait=planned.portrait,
            seed=7,
            workdir=workdir,
            deadline_s=60.0,
            script="These are nine words to be spoken by somebody.",
        )
        conversation = await started[key].open(planned.persona)
        events = [event async for event in conversation.respond(turn)]
        assert isinstance(events[-1], FINAL_EVENTS)
        return events[-1], events[:-1]

    yield ask
    for system in started.values():
        await system.stop()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, (str, Path)) else repr(value)


@pytest.fixture
def words(tmp_path: Path, services: video_services.VideoServices, scenario_set: Path) -> Callable[..., list[str]]:
    """What stands after ``interbench`` on a command line, with a settings file of the systems where a verb has one."""

    def given(
        verb: str, *arguments: str, systems: Mapping[str, Mapping[str, Any]] | None = None, out: str = "out"
    ) -> list[str]:
        config = tmp_path / f"{out}.toml"
        lines = [
            f'out = "{tmp_path / out}"',
            f'scenarios = "{scenario_set}"',
            f"systems = {_toml(list(systems or {}))}",
            f'script = "{services.url}/chat/v1"',
            'script_options = {model = "writer", words = 9, key_env = "TEST_CHAT_KEY"}',
        ]
        for label, table in (systems or {}).items():
            lines += [f"[system.{label}]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
        if systems is not None:
            config.write_text("\n".join(lines) + "\n")
        return [verb, *arguments, *(["--config", str(config)] if verb in ("run", "drive", "check-system") else [])]

    return given


# FunASR, the default transcriber where it is installed, has no weights here.
_ENVIRONMENT = {"COLUMNS": "200", "INTERBENCH_TRANSCRIBER": "given"}


@pytest.fixture
def interbench(words: Callable[..., list[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start the real command line in a process of its own, to be killed."""

    def start(*arguments: Any, **keywords: Any) -> subprocess.Popen[str]:
        paths = [str(Path(harness_kit.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-m", "interbench", *words(*arguments, **keywords)],
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run_interbench(
    words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, verb: Callable[..., tuple[int, str, str]]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line to its end, in this process: status, output, errors."""
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **keywords: verb(*words(*arguments, **keywords))
