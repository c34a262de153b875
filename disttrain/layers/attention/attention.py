"""Attention without projections."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import activations
from disttrain.layers.attention import masks
from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import dropout_mask
from disttrain.layers.symbolic import SymbolicTensor


class Attention(Layer):
    """`softmax(query @ key.T) @ value` (Luong et al. 2015).

    Args:
        use_scale: multiply scores by a learned number.
        score_mode: "dot", or "concat": the sum of `tanh(query + key)`, times a learned number.
        dropout: share of the scores that is dropped when training.
        seed: sets this layer's dropout apart from that of a layer with another one.

    Call: `layer([query, value])` or `layer([query, value, key])`, with `use_causal_mask` to hide later steps and
    `return_attention_scores` to get `(output, scores)`. Steps of the value whose mask is False are not looked at; of the query, the output
    is 0 there. `mask=[query mask, value mask]` comes before the masks that the tensors carry.

    Input shapes: `(batch, queries, features)`, `(batch, keys, features)`. Output shape: `(batch, queries, features)`.
    Weights: `scale` with `use_scale` and `concat_score_weight` with "concat", one number each, 1.

    Raises:
        ValueError: an unknown `score_mode`, or a `dropout` outside of 0 to 1; an input that is no list of two or three tensors; masks that
            do not fit.

    Example:
        >>> x = torch.zeros(2, 7, 16)
        >>> Attention()([x, x]).shape
        torch.Size([2, 7, 16])
    """

    _starts_mask = False

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                f"{owner}: Invalid value for argument score_mode. Expected one of {{'dot', 'concat'}}. Received: score_mode={score_mode}"
            )
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(f"{owner}(dropout={dropout!r}): expected a number from 0 to 1, the share of scores that is dropped.")
        self.use_scale, self.score_mode, self.dropout, self.seed = bool(use_scale), score_mode, dropout, seed

    def build(self, input_shape: Any) -> None:
        self._check(input_shape, "input shapes")
        self._add_weights(input_shape)

    def _add_weights(self, input_shape: Any) -> None:
        self.scale = self.add_weight("scale", (), "ones") if self.use_scale else None
        self.concat_score_weight = self.add_weight("concat_score_weight", (), "ones") if self.score_mode == "concat" else None

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._check(inputs, "inputs")
        if mask is not None:
            self._check(mask, "masks")
        query, value, key = inputs[0], inputs[1], inputs[-1] if len(inputs) > 2 else inputs[1]
        query_mask, value_mask = (mask[0], mask[1]) if mask is not None else (None, None)
        seen = None if value_mask is None else value_mask.to(torch.bool).unsqueeze(-2)
        if use_causal_mask:
            causal = masks.causal_mask(query.shape[-2], key.shape[-2], query.device)
            seen = causal if seen is None else seen & causal
        plain = self.score_mode == "dot" and query.ndim == 3 and type(self)._scores is Attention._scores
        if plain and not return_attention_scores and not (training and self.dropout):
            output, weights = self._attend_without_scores(query, key, value, seen), None
        else:
            weights = activations.softmax(self._masked(self._scores(query, key), seen))
            kept = weights * dropout_mask(self, weights, self.dropout, None, self.seed) if training and self.dropout else weights
            output = kept @ value
        if query_mask is not None:
            output = torch.where(query_mask.to(torch.bool).unsqueeze(-1), output, 0)
        return (output, weights) if return_attention_scores else output

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """`(batch, queries, keys)`: how much each query is to look at each key, any numbers."""
        if self.score_mode == "dot":
            scores = query @ key.transpose(-2, -1)
            return scores if self.scale is None else scores * self.scale
        pairs, weight = query.unsqueeze(-2) + key.unsqueeze(-3), self.concat_score_weight
        scores = torch.tanh(pairs if self.scale is None else self.scale * pairs).sum(-1)
        return scores if weight is None else weight * scores

    def _attend_without_scores(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Tensor:
        query = query if self.scale is None else query * self.scale
        q, k, v = (tensor.unsqueeze(1) for tensor in (query, key, value))  # one head
        if seen is None:
            return F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)
        bias, sees = masks.additive(seen.unsqueeze(1), query.dtype)
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)
        return torch.where(sees, y, v.mean(-2, keepdim=True)).squeeze(1)  # 1e9 less on all scores makes them all alike

    def _masked(self, scores: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None:
            return scores
        return torch.where(seen, scores, scores - (65504.0 if scores.dtype is torch.float16 else 1.0e9))

    def compute_mask(self, inputs: Any, mask: Any = None, previous_mask: Any = None) -> Any:  # type: ignore[override]  # as Keras has it
        given = previous_mask if mask is None else mask
        return None if given is None or given[0] is None else torch.as_tensor(given[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(self, inputs: Any, mask: Any = None, return_attention_scores: bool = False, **options: Any) -> Any:
        self._check(inputs, "inputs")
        output = SymbolicTensor(self.compute_output_shape([tensor.shape for tensor in inputs]), self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, SymbolicTensor((*inputs[0].shape[:-1], inputs[-1].shape[-2]), self.compute_dtype)

    def _check(self, given: Any, what: str) -> None:
        if not isinstance(given, list | tuple) or not 2 <= len(given) <= 3:
            raise ValueError(
                f"{self._described()}: must be called on a list of 2 or 3 {what}, [query, value] or [query, value, key]; "
                f"got {'one' if not isinstance(given, list | tuple) else len(given)}."
            )

    def get_config(self) -> dict[str, Any]:
        own = {"use_scale": self.use_scale, "score_mode": self.score_mode, "dropout": self.dropout, "seed": self.seed}
        return {**super().get_config(), **own}
