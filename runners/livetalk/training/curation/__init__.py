"""From a folder of clips to conditions: picture, speech and text of each, with what was measured and what was done."""
