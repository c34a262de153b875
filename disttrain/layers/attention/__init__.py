"""Attention."""

from __future__ import annotations

from disttrain.layers.attention.additive_attention import AdditiveAttention
from disttrain.layers.attention.attention import Attention
from disttrain.layers.attention.group_query_attention import GroupQueryAttention
from disttrain.layers.attention.multi_head_attention import MultiHeadAttention
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "AdditiveAttention": AdditiveAttention,
    "Attention": Attention,
    "GroupQueryAttention": GroupQueryAttention,
    "MultiHeadAttention": MultiHeadAttention,
}

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]
