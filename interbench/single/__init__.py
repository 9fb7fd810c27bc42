"""Single-round metrics of clips: how near to real ones, how well lips fit sound, how good to look at, how fast."""
