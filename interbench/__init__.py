"""interbench: benchmark for multi-turn conversations with video avatars."""

__version__ = "0.1.0"
