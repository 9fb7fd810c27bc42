"""The recipe by which a causal student is distilled; nothing above imports it but the command line."""
