"""The recipe by which a causal few-step student is distilled; only the command line imports it."""
