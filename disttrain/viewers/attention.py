"""Where attention looks: the scores that a layer computes for a recorded call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from disttrain.layers.attention.attention import Attention
from disttrain.layers.attention.head_attention import HeadAttention
from disttrain.layers.context import CallContext, call_context


def has_scores(layer: Any) -> bool:
    """Can this layer give its scores?"""
    return isinstance(layer, HeadAttention | Attention)


@torch.no_grad()
def scores(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray:
    """How much each step of the query looks at each step of the value: (heads, queries, keys), rows that sum to 1,
    or to 0 where masks hide everything.

    The layer computes them itself, for the arguments of a recorded call and the first sample; masks count, dropout does not.
    `Attention` and `AdditiveAttention` have one head. Where attention goes along several axes they are one after the other, and axes
    that are attended along for themselves multiply the heads.
    """
    kwargs = {**kwargs, "return_attention_scores": True, "training": False}
    context = CallContext(training=False, key=0)
    context.masked = True  # a tensor among the arguments may carry one
    with call_context(context):
        _, found = layer(*args, **kwargs)
    found = found[0].float()
    along = len(layer._attention_axes) if isinstance(layer, HeadAttention) and layer._attention_axes else 1
    queries, keys = found.shape[-2 * along : -along], found.shape[-along:]
    heads: np.ndarray = found.reshape(-1, math.prod(queries), math.prod(keys)).cpu().numpy()
    return heads
