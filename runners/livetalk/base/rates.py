"""Rates that sound, pictures and networks share."""

from __future__ import annotations

VIDEO_FPS = 16
AUDIO_RATE = 16_000
