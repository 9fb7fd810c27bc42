"""Systems under test: the adapter seam and the built-in systems."""
