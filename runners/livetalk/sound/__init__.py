"""Sound files and resampling."""
