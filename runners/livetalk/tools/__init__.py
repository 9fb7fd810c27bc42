"""Verbs beside the server: generate, bench, parity, doctor, download."""
