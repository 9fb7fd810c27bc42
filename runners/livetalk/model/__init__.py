"""The causal diffusion transformer, its anchored cache and its attention."""

from livetalk.model.cache import AnchoredKVCache
from livetalk.model.dit import CausalDiT
from livetalk.model.weights import random_state, random_tensors, reference_shapes

__all__ = ["AnchoredKVCache", "CausalDiT", "random_state", "random_tensors", "reference_shapes"]
