"""The stages as one pipeline: run, settings, checking a system."""
