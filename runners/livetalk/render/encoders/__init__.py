"""Picture, speech and prompt to what the transformer is conditioned on."""
