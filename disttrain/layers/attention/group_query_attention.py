"""Attention whose heads share keys and values in groups."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.attention.head_attention import HeadAttention, settings_of
from disttrain.layers.geometry import integer
from disttrain.layers.naming import auto_name
from disttrain.layers.symbolic import Shape, SymbolicTensor


class GroupQueryAttention(HeadAttention):
    """`MultiHeadAttention` with fewer heads for keys and values than for queries (Ainslie et al. 2023): less to keep in memory.

    Args:
        head_dim: size of a head.
        num_query_heads: heads of the query, a multiple of `num_key_value_heads`.
        num_key_value_heads: heads of key and value; 1 is multi-query attention.
        dropout, use_bias, sliding_window and so on: see `MultiHeadAttention`.

    Call, masks and shapes: see `MultiHeadAttention`; inputs have 3 axes, and the output has the query's shape.
    Weights: projections `(features, heads, head_dim)` with biases, and back.

    Raises:
        ValueError: query heads that are no multiple of the key-value heads, a `dropout` outside of 0 to 1, `flash_attention=True`; tensors
            or masks whose shapes do not fit.

    Example:
        >>> import torch
        >>> x = torch.zeros(2, 7, 16)
        >>> GroupQueryAttention(head_dim=8, num_query_heads=4, num_key_value_heads=2)(x, x).shape
        torch.Size([2, 7, 16])
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
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
        kwargs["name"] = kwargs.get("name") or auto_name("GroupedQueryAttention")  # Keras's own name of the class, which it exports as this
        super().__init__(dropout, use_bias, sliding_window, flash_attention, settings, use_gate, seed, **kwargs)
        owner = type(self).__name__
        self.head_dim = self._head_size = integer(head_dim, "head_dim", owner)
        self.num_query_heads = integer(num_query_heads, "num_query_heads", owner)
        self.num_key_value_heads = integer(num_key_value_heads, "num_key_value_heads", owner)
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(f"{owner}(num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}): expected a multiple.")

    def build(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> None:  # type: ignore[override]
        self._check_shapes(query_shape, value_shape, key_shape)
        if len(query_shape) != 3 or len(value_shape) != 3:
            raise ValueError(
                f"{self._described()}: got a query of shape {tuple(query_shape)} and a value of {tuple(value_shape)}, "
                "expected 3 axes each: batch, steps and features."
            )

        def projected(name: str, heads: int, activation: Any = None) -> Any:
            return self._projection(name, "abc,cde->abde", (None, heads, self.head_dim), "de", activation)

        self._query_dense = projected("query", self.num_query_heads)
        self._query_dense.build(query_shape)
        self._key_dense = projected("key", self.num_key_value_heads)
        self._key_dense.build(value_shape if key_shape is None else key_shape)
        if self.use_gate:
            self._gate_dense = projected("gate", self.num_query_heads, "sigmoid")
            self._gate_dense.build(query_shape)
        self._value_dense = projected("value", self.num_key_value_heads)
        self._value_dense.build(value_shape)
        self._build_scores(4, (1,))
        self._output_dense = self._projection("attention_output", "abcd,cde->abe", (None, query_shape[-1]), "e")
        self._output_dense.build((None, None, self.num_query_heads, self.head_dim))

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
        mask, causal = self._mask(query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask)
        gate = self._gate_dense(query) if self.use_gate else None
        repeats = self.num_query_heads // self.num_key_value_heads
        keys = self._key_dense(value if key is None else key).repeat_interleave(repeats, 2)
        values = self._value_dense(value).repeat_interleave(repeats, 2)
        output, scores = self._attended(self._query_dense(query), keys, values, mask, causal, training, return_attention_scores)
        output = self._output_dense(output if gate is None else output * gate)
        return (output, scores) if return_attention_scores else output

    def compute_output_shape(  # type: ignore[override]
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> Shape:  # fmt: skip
        self._check_shapes(query_shape, value_shape, key_shape)
        return tuple(query_shape)

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, *masks: Any, return_attention_scores: bool = False, **options: Any
    ) -> Any:  # fmt: skip
        output = SymbolicTensor(self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape), self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, SymbolicTensor((query.shape[0], self.num_query_heads, query.shape[1], value.shape[1]), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "sliding_window": self.sliding_window,
            "dropout": self.dropout,
            **self._settings_config(),
            "seed": self.seed,
        }
