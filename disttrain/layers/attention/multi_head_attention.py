"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.attention.head_attention import HeadAttention, settings_of
from disttrain.layers.geometry import integer
from disttrain.layers.symbolic import Shape, SymbolicTensor

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class MultiHeadAttention(HeadAttention):
    """Every step of a query looks at all steps of a value, each head in its own way (Vaswani et al. 2017).

    Args:
        num_heads: how many heads.
        key_dim: size of a head for query and key.
        value_dim: size of a head for the value; None is `key_dim`.
        dropout: share of the scores that is dropped when training, whole places to look at.
        use_bias: of the projections.
        output_shape: of the output behind its steps; None is the last size of the query.
        attention_axes: the axes that are looked along, batch 0; None is all between batch and features.
        sliding_window: a step looks only at those less than so many steps away.
        flash_attention: None; torch chooses the kernel.
        kernel_initializer, ..., bias_constraint: of the projections.
        use_gate: the output of each head is multiplied by a sigmoid of a further projection of the query.
        seed: sets this layer's dropout apart from that of a layer with another one.

    Call: `layer(query, value, key=None, attention_mask=None, return_attention_scores=False, use_causal_mask=False)`. `key` is `value`
    unless given. `attention_mask` is True where a step of the query may look at one of the value, `(batch, queries, keys)` or what
    broadcasts to it; masks that the tensors carry count as well, and `use_causal_mask` hides later steps.

    Input shapes: `(batch, queries, features)`, `(batch, keys, features)`. Output shape: `(batch, queries, ...output_shape)`; with
    `return_attention_scores` also `(batch, heads, queries, keys)`.
    Weights: projections `query_dense`, `key_dense`, `value_dense` with `kernel (features, heads, size)` and `bias (heads, size)`;
    `output_dense` with `kernel (heads, value_dim, features)` and `bias (features,)`. Glorot uniform and zeros.

    Raises:
        ValueError: sizes below 1, a `dropout` outside of 0 to 1, `flash_attention=True`, `attention_axes` that are not between the batch
            and the features; tensors or masks whose shapes do not fit.

    Example:
        >>> import torch
        >>> x = torch.zeros(2, 7, 16)
        >>> MultiHeadAttention(num_heads=4, key_dim=8)(x, x, use_causal_mask=True).shape
        torch.Size([2, 7, 16])
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        settings = settings_of(
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            bias_constraint,
        )  # fmt: skip
        super().__init__(dropout, use_bias, sliding_window, flash_attention, settings, use_gate, seed, **kwargs)
        owner = "MultiHeadAttention"
        self.num_heads = integer(num_heads, "num_heads", owner)
        self.key_dim = self._head_size = integer(key_dim, "key_dim", owner)
        self.value_dim = self.key_dim if value_dim is None else integer(value_dim, "value_dim", owner)
        self._output_shape = _integers(output_shape, "output_shape", 1)
        self._given_axes = _integers(attention_axes, "attention_axes", None)

    @property
    def attention_axes(self) -> tuple[int, ...] | None:
        """The axes that are looked along; once built, counted from the front."""
        return self._given_axes if self._attention_axes is None else self._attention_axes

    def build(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> None:  # type: ignore[override]
        self._check_shapes(query_shape, value_shape, key_shape)
        rank = len(query_shape)
        if len(value_shape) != rank or rank < 3:
            raise ValueError(
                f"{self._described()}: got a query of shape {tuple(query_shape)} and a value of {tuple(value_shape)}, "
                "expected as many axes for both, 3 or more."
            )
        axes = tuple(range(1, rank - 1)) if self._given_axes is None else tuple(a if a >= 0 else rank + a for a in self._given_axes)
        if not axes or any(not 0 < axis < rank - 1 for axis in axes):
            raise ValueError(
                f"{self._described()}: attention_axes={self._given_axes} are not all between the batch and the features of {rank} axes."
            )
        steps = _LETTERS[: rank - 1]  # batch and steps
        d, e, f = (_LETTERS[rank - 1 + place] for place in range(3))
        unknown = (None,) * (rank - 2)

        def projected(name: str, size: int, activation: Any = None) -> Any:
            return self._projection(name, f"{steps}{d},{d}{e}{f}->{steps}{e}{f}", (*unknown, self.num_heads, size), e + f, activation)

        self.query_dense = projected("query", self.key_dim)
        self.query_dense.build(query_shape)
        self.key_dense = projected("key", self.key_dim)
        self.key_dense.build(value_shape if key_shape is None else key_shape)
        if self.use_gate:
            self._gate_dense = projected("gate", self.value_dim, "sigmoid")
            self._gate_dense.build(query_shape)
        self.value_dense = projected("value", self.value_dim)
        self.value_dense.build(value_shape)
        self._build_scores(rank + 1, axes)
        sizes = self._output_shape or (query_shape[-1],)
        new = _LETTERS[rank + 1 : rank + 1 + len(sizes)]
        self.output_dense = self._projection("attention_output", f"{steps}{d}{e},{d}{e}{new}->{steps}{new}", (*unknown, *sizes), new)
        self.output_dense.build((*query_shape[:-1], self.num_heads, self.value_dim))

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        key = value if key is None else key
        mask, causal = self._mask(query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask)
        gate = self._gate_dense(query) if self.use_gate else None
        output, scores = self._attended(
            self.query_dense(query), self.key_dense(key), self.value_dense(value), mask, causal, training, return_attention_scores
        )  # fmt: skip
        output = self.output_dense(output if gate is None else output * gate)
        return (output, scores) if return_attention_scores else output

    def compute_output_shape(  # type: ignore[override]
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> Shape:  # fmt: skip
        self._check_shapes(query_shape, value_shape, key_shape)
        return (*query_shape[:-1], *self._output_shape) if self._output_shape else tuple(query_shape)

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, *masks: Any, return_attention_scores: bool = False, **options: Any
    ) -> Any:  # fmt: skip
        output = SymbolicTensor(self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape), self.compute_dtype)
        if not return_attention_scores:
            return output
        axes = self.attention_axes or tuple(range(1, query.ndim - 1))
        axes = tuple(axis if axis >= 0 else query.ndim + axis for axis in axes)
        apart = [size for axis, size in enumerate(query.shape[:-1]) if axis not in axes]
        along = [*(query.shape[axis] for axis in axes), *(value.shape[axis] for axis in axes)]
        return output, SymbolicTensor((*apart, self.num_heads, *along), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "output_shape": self._output_shape,
            "attention_axes": self.attention_axes,
            "sliding_window": self.sliding_window,
            **self._settings_config(),
            "seed": self.seed,
        }


def _integers(value: Any, argument: str, minimum: int | None) -> tuple[int, ...] | None:
    items = (value,) if isinstance(value, int) and not isinstance(value, bool) else value
    if items is None or (isinstance(items, list | tuple) and not items):
        return None
    if not isinstance(items, list | tuple) or not all(isinstance(item, int) and (minimum is None or item >= minimum) for item in items):
        expected = "an axis, or several" if minimum is None else f"an integer of {minimum} or more, or several"
        raise ValueError(f"MultiHeadAttention({argument}={value!r}): expected {expected}, or None.")
    return tuple(items)
