"""A run's folder: ledger, media, manifest. The only owner of state."""
