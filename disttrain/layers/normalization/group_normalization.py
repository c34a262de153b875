"""Group normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.geometry import integer
from disttrain.layers.normalization.affine import AffineNormalization, known_sizes, places_of
from disttrain.layers.symbolic import Shape


class GroupNormalization(AffineNormalization):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each sample over each group of channels (Wu & He 2018).

    Args:
        groups: how many groups the channels fall into, which must divide them; 1 is layer normalization over all axes, -1 makes each
            channel a group of its own (instance normalization).
        axis: the axis of the channels.
        epsilon: added to the biased variance.
        center, scale: learn `beta`, learn `gamma`.

    Weights: `gamma (channels,)`, ones; `beta (channels,)`, zeros. Computed in float32 at least.

    Raises:
        ValueError: an `axis` that is the batch, `groups` that do not divide the channels; an input without that axis or with an unknown
            size there.

    Example:
        >>> import torch
        >>> GroupNormalization(groups=2)(torch.tensor([[1.0, 3.0, 5.0, 5.0]])).detach().round(decimals=3).tolist()
        [[-1.0, 1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta=(beta_initializer, beta_regularizer, beta_constraint),
            gamma=(gamma_initializer, gamma_regularizer, gamma_constraint),
            **kwargs,
        )
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ValueError(f"GroupNormalization(axis={axis!r}): expected the axis of the channels, an integer other than 0.")
        if not isinstance(groups, int) or groups != -1:
            groups = integer(groups, "groups", "GroupNormalization", meaning="or -1 for a group of each channel")
        self.groups, self.axis = groups, axis
        self._autocast = False  # float32 inputs are not rounded to half before they are normalized in float32

    def build(self, input_shape: Shape) -> None:
        places = places_of(self.axis, input_shape, self._described())
        if places == [0]:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}, whose axis {self.axis} is that of the batch.")
        (channels,) = known_sizes(places, input_shape, self._described())
        groups = channels if self.groups == -1 else self.groups
        if channels % groups:
            wrong = (
                "Number of groups cannot be more than the number of channels"
                if channels < groups
                else "Number of groups must be a multiple of the number of channels"  # as Keras says it; the reverse is meant
            )
            raise ValueError(
                f"{self._described()}(groups={groups}): got {channels} channels, which do not fall into that many groups. {wrong}."
            )
        self.groups = groups  # so Keras writes -1 once it is built
        self._add_affine((channels,), scale=self.scale, center=self.center)

    def call(self, inputs: Tensor) -> Tensor:
        x, gamma, beta = self._at_work(inputs)
        if x.ndim > 2:
            x = x.movedim(self.axis, 1)  # torch's place for channels
        if not x.requires_grad:
            x = x.contiguous()  # torch 2.13 dies in the backward pass of channels that are last in memory if only weights have gradients
        # Nor has it a backward pass for beta without gamma.
        y = torch.group_norm(x, self.groups, gamma, None if gamma is None else beta, self.epsilon)
        y = y.movedim(1, self.axis) if x.ndim > 2 else y
        if gamma is None and beta is not None:
            y = y + beta.view([-1 if axis == self.axis % y.ndim else 1 for axis in range(y.ndim)])
        return y.to(self._compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}
