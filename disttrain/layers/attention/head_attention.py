"""What attention with several heads has in common: projections, masks, scores, and the way to the output."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import constraints, initializers, regularizers
from disttrain.arrays import as_tensor
from disttrain.layers.activation.softmax import Softmax
from disttrain.layers.attention import masks
from disttrain.layers.core.einsum_dense import EinsumDense
from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import Dropout

_TABLES: dict[str, Any] = {"constraint": constraints, "initializer": initializers, "regularizer": regularizers}


class HeadAttention(Layer):
    """`softmax(query @ key.T / sqrt(size of a head)) @ value` for each head (Vaswani et al. 2017). Subclasses make the projections.

    Where neither scores are asked for nor dropout is at work, torch's `scaled_dot_product_attention` computes it, without ever holding
    the scores of all pairs.
    """

    supports_masking = True
    _head_size: int
    _attention_axes: tuple[int, ...] | None = None  # of the projected query, batch 0; None until built

    def __init__(
        self,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        settings: dict[str, Any],
        use_gate: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        super().__init__(**kwargs)
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(f"{owner}(dropout={dropout!r}): expected a number from 0 to 1, the share of scores that is dropped.")
        if flash_attention:
            raise ValueError(f"{owner}(flash_attention=True) is not supported: torch chooses the fastest kernel itself. Leave it None.")
        self.dropout, self.use_bias, self.use_gate, self.seed = dropout, bool(use_bias), bool(use_gate), seed
        self.sliding_window = sliding_window if sliding_window is None else integer(sliding_window, "sliding_window", owner)
        # Of the projections, not of this layer: the penalty on activity is theirs.
        self._settings = {name: _TABLES[name.rpartition("_")[2]].get(value) for name, value in settings.items()}

    # -- building -------------------------------------------------------------------------------------------------------------------

    def _projection(self, name: str, equation: str, output_shape: Any, bias_axes: str, activation: Any = None) -> EinsumDense:
        settings = dict(self._settings)
        for kind in ("kernel_initializer", "bias_initializer"):
            settings[kind] = settings[kind].clone() if hasattr(settings[kind], "clone") else settings[kind]  # other draws for each
        return EinsumDense(
            equation,
            output_shape,
            activation=activation,
            bias_axes=bias_axes if self.use_bias else None,
            name=name,
            dtype=self.dtype_policy,
            **settings,
        )

    def _build_scores(self, rank: int, axes: tuple[int, ...]) -> None:
        """Prepare for projected tensors of `rank` axes, (batch, ..., heads, size), with attention over `axes` of them."""
        self._attention_axes = axes
        self._score_equation, self._sum_equation = score_equations(rank, axes)
        self._plain = rank == 4
        self._softmax = Softmax(axis=[-index - 1 for index in reversed(range(len(axes)))], dtype=self.dtype_policy)
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)

    # -- computing ------------------------------------------------------------------------------------------------------------------

    def _compute_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(output, scores or None) for projected tensors `(batch, steps, heads, size)`: what a subclass may compute in its own way."""
        query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
        mask = None if attention_mask is None else as_tensor(attention_mask).to(device=query.device, dtype=torch.bool)
        if use_causal_mask and mask is not None:
            mask = mask & masks.causal_mask(query.shape[1], key.shape[1], query.device)
        return self._attend(query, key, value, mask, use_causal_mask and mask is None, bool(training), return_attention_scores)

    def _attended(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, training: bool, wants_scores: bool
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The same, by the way of the subclass if it has one; that one is given every mask there is, also the order of the steps."""
        if type(self)._compute_attention is HeadAttention._compute_attention:
            return self._attend(query, key, value, mask, causal, training, wants_scores)
        if causal:
            mask = masks.causal_mask(query.shape[1], key.shape[1], query.device)
        return self._compute_attention(query, key, value, mask, training, wants_scores)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, training: bool, wants_scores: bool
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """(output, scores or None) for projected tensors; `causal` says that nothing but the order forbids a pair."""
        if self._plain and not wants_scores and not (training and self.dropout):
            return self._attend_without_scores(query, key, value, mask, causal), None
        if causal:
            mask = masks.causal_mask(query.shape[1], value.shape[1], query.device)
        scores = torch.einsum(self._score_equation, key, query * (1.0 / math.sqrt(self._head_size)))
        scores = self._softmax(scores) if mask is None else self._softmax(scores, mask=self._for_heads(mask, scores.ndim))
        kept = self._dropout_layer(scores, training=training) if self.dropout else scores
        return torch.einsum(self._sum_equation, kept, value), scores

    def _attend_without_scores(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        q, k, v = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)  # torch's order: heads before steps
        scale = 1.0 / math.sqrt(self._head_size)
        if mask is None:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale).transpose(1, 2)
        bias, sees = masks.additive(self._for_heads(mask, 4), query.dtype)
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
        # What Keras's kernel and, where a dropout has it compute scores, their softmax give for a query that may see nothing.
        blind = torch.zeros((), dtype=y.dtype, device=y.device) if self.dropout else v.mean(-2, keepdim=True)
        return torch.where(sees, y, blind).transpose(1, 2)

    def _for_heads(self, mask: Tensor, rank: int) -> Tensor:
        """`mask` with an axis for the heads, and what else is missing, before those of queries and keys."""
        while mask.ndim < rank:
            mask = mask.unsqueeze(-2 * len(self._attention_axes or (1,)) - 1)
        return mask

    def _mask(
        self,
        query: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        value_mask: Tensor | None,
        key_mask: Tensor | None,
        attention_mask: Tensor | None,
        causal: bool,
    ) -> tuple[Tensor | None, bool]:
        """(the mask of all pairs, or None; whether the order alone forbids pairs, so that no mask is needed)."""
        given = (query_mask, value_mask, key_mask, attention_mask, self.sliding_window)
        if causal and all(mask is None for mask in given):
            return None, True
        masks.check(self._described(), query, value, query_mask=query_mask, value_mask=value_mask, key_mask=key_mask)
        if query.ndim == value.ndim == 3:
            masks.check(self._described(), query, value, attention_mask=attention_mask)
        return masks.combined(query, value, query_mask, value_mask, key_mask, attention_mask, causal, self.sliding_window), False

    # -- describing -----------------------------------------------------------------------------------------------------------------

    def _check_shapes(self, query_shape: Any, value_shape: Any, key_shape: Any) -> None:
        if value_shape is None:
            raise ValueError(f"{self._described()}: expected a query and a value, as in layer(query, value).")
        if tuple(value_shape[1:-1]) != tuple((key_shape or value_shape)[1:-1]):
            raise ValueError(
                f"{self._described()}: the value has shape {tuple(value_shape)}, the key {tuple(key_shape)}; "
                "all axes but the last must be equal."
            )

    def _settings_config(self) -> dict[str, Any]:
        return {name: _TABLES[name.rpartition("_")[2]].serialize(value) for name, value in self._settings.items()}


def settings_of(
    kernel_initializer: Any,
    bias_initializer: Any,
    kernel_regularizer: Any,
    bias_regularizer: Any,
    activity_regularizer: Any,
    kernel_constraint: Any,
    bias_constraint: Any,
) -> dict[str, Any]:
    """The settings of the projections by name."""
    return dict(locals())


def score_equations(rank: int, axes: tuple[int, ...]) -> tuple[str, str]:
    """Einsum equations for (key, query) -> scores and (scores, value) -> output, for projected tensors of `rank` axes.

    Scores are (what is attended along for itself, heads among it; queries along `axes`; keys along `axes`).

    Example:
        >>> score_equations(4, (1,))
        ('aecd,abcd->acbe', 'acbe,aecd->abcd')
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    query = letters[:rank]
    fresh = iter(letters[rank:])
    key = "".join(next(fresh) if axis in axes else letter for axis, letter in enumerate(query))
    apart = [letter for axis, letter in enumerate(query[:-1]) if axis not in axes]
    scores = "".join([*apart, *(query[axis] for axis in axes), *(key[axis] for axis in axes)])
    return f"{key},{query}->{scores}", f"{scores},{key}->{query}"
