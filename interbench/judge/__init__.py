"""Judges: what turns a played conversation into verdicts."""
