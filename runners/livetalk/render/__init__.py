"""From speech, portrait and prompt to pictures: networks, sampler, checkpoints, performer."""
