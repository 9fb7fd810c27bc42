"""Scenario sets on disk: loading, validating, planning, datasheet, user audio."""
