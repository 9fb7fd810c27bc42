"""LiveTalk: a talking avatar rendered block by block by a four-step causal video diffusion model."""
