"""docs/live-services.md names every option of the live systems, and every incident that is counted."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from interbench.domain.incidents import MEANINGS, IncidentKind
from interbench.systems.live.gemini_live import GeminiLiveAvatar
from interbench.systems.live.livekit_room import LiveKitRoom
from interbench.systems.live.system import LiveSystem
from interbench.systems.live.vendors import VENDORS
from interbench.systems.live.webrtc import WebRtc

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "live-services.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("system", [GeminiLiveAvatar, LiveKitRoom, WebRtc, LiveSystem])
def test_every_option_is_on_the_page(system: type[LiveSystem]) -> None:
    names = [name for name in inspect.signature(system.__init__).parameters if name not in ("self", "options")]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert [name for name in names if f" {name}: " not in f" {inspect.getdoc(system)}"] == []


def test_every_incident_and_vendor_is_on_the_page() -> None:
    assert set(MEANINGS) == set(IncidentKind)
    assert [kind for kind in IncidentKind if kind.value.replace("_", " ") not in PAGE] == []
    for name, vendor in VENDORS.items():
        assert f"`{name}`" in PAGE and vendor.key_variable in PAGE


def test_keys_of_the_page_are_those_of_the_systems() -> None:
    for variable in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        assert variable in PAGE
