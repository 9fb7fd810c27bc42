"""Lips and sound: SyncNet's confidence and distance, and a figure of our own that needs no weights."""
