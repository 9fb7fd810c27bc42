"""The causal diffusion transformer, its anchored cache and its attention."""

from livetalk.render.model.cache import AnchoredKVCache
from livetalk.render.model.dit import CausalDiT
from livetalk.render.model.weights import random_state, random_tensors, reference_shapes

__all__ = ["AnchoredKVCache", "CausalDiT", "random_state", "random_tensors", "reference_shapes"]
