"""docs/systems.md does what it says: its example runs, its sums are right, its options exist."""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from interbench.domain.records import Charge
from interbench.pipeline.config import Settings
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.registry import SYSTEMS, SystemSpec
from interbench.systems.services.gemini_omni import GeminiOmni
from interbench.systems.services.hedra import Hedra
from interbench.systems.services.heygen import HeyGen
from interbench.systems.services.rest_job import RestJobSystem
from interbench.systems.services.sora import Sora
from interbench.systems.services.veo import Veo

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "systems.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's example as an importable module."""
    (code,) = (block for block in blocks("python") if "class MyService" in block)
    assert len(code.strip().splitlines()) < 40
    (tmp_path / "documented").mkdir()
    (tmp_path / "documented" / "my_service.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "documented"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "documented"))
    monkeypatch.delitem(sys.modules, "my_service", raising=False)
    return "my_service:MyService"


@pytest.fixture
def documented(my_service: str, adapters: Any) -> Any:
    return type(adapters["sora"])("documented", my_service, "simple", "/simple", {}, 8, 0.02)


async def test_the_example_completes_and_is_charged(documented: Any, play: Any, services: Any, tmp_path: Path) -> None:
    exchanges = await play(documented)
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    assert exchanges[0].cost_usd == pytest.approx(8 * 0.02)
    assert exchanges[0].reply_text == services.jobs["simple_1"].request["text"]


async def test_the_example_tells_outcomes_apart(documented: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.outcomes.append("refused")
    blocked, completed = await play(documented)
    assert (blocked.outcome.value, blocked.message) == ("blocked", "Blocked by content policy.")
    assert completed.completed
    with Run(tmp_path / "out", write=False) as run:
        assert [spend.charge for spend in run.spending()] == [Charge.FREE, Charge.SPENT]


def test_the_example_passes_the_check(my_service: str, documented: Any, services: Any, run_interbench: Any) -> None:
    table = documented.table(services)
    status, output, errors = run_interbench("check-system", "it", systems={"it": table})
    assert status == 0, output + errors


def test_the_costs_are_right() -> None:
    scenarios = load_set("all").scenarios
    turns = sum(len(scenario.turns) for scenario in scenarios)
    assert len(scenarios) == 100
    assert f"{turns} turns in the bundled set" in PAGE
    rows = re.findall(r"^\| ([^|]+) \| \$([\d.]+) \| \$([\d,.]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for name, price, cost in rows:
        assert float(cost.replace(",", "")) == pytest.approx(turns * 8 * float(price), abs=0.01), name
    prices = {name: float(price) for name, price, _ in rows}
    own = {"project": "p"}
    for label, options in {
        "Veo 3.1 (Vertex AI)": {"model": "veo-3.1-generate-001"},
        "Veo 3.1 fast": {"model": "veo-3.1-fast-generate-001"},
        "Veo 3.1 lite": {"model": "veo-3.1-lite-generate-001"},
    }.items():
        assert SystemSpec("it", "veo", own | options).factory()().capabilities.price_usd_per_s == prices[label]
    for label, cls in (
        ("Gemini Omni 1.1", GeminiOmni),
        ("HeyGen, photo avatar", HeyGen),
        ("Hedra", Hedra),
        ("Sora 2 (as long as it was served)", Sora),
    ):
        assert cls().capabilities.price_usd_per_s == prices[label]


def test_every_system_and_option_is_documented() -> None:
    for name in SYSTEMS.built_in:
        assert f"`{name}`" in PAGE, name
    for cls in (RestJobSystem, Sora, Veo, GeminiOmni, HeyGen, Hedra):
        for option in inspect.signature(cls).parameters:
            assert option == "options" or f"`{option}`" in PAGE, f"{cls.__name__}: {option}"


def test_the_settings_shown_are_read(services: Any) -> None:
    for block in blocks("toml"):
        settings = Settings.model_validate(tomllib.loads(block))
        for label in settings.system:
            SystemSpec.parse(label, settings.system).factory()()
