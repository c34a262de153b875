"""Functions of tensors inside what torch.compile traces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.layers import ops
from disttrain.models import Input, Model


@pytest.mark.leaves_behind("environment", "threads")  # what torch sets and starts when it compiles
def test_a_graph_of_operations_is_traced_without_a_break():
    x = Input((4, 6))
    scores = ops.softmax(x @ ops.transpose(x, (0, 2, 1)) / 6**0.5)
    y = L.Dense(6)(scores @ x + x[:, :1] * 0.5) + np.ones(6, dtype="float32")
    kept = ops.where((y > 0) & ~(y > 1), y, ops.clip(-y, 0.0, 1.0))
    model = Model(
        x, ops.concatenate([ops.mean(kept, axis=1), ops.max(abs(y), axis=1), ops.one_hot(ops.argmax(y[:, 0], axis=-1), 6)], axis=-1)
    )
    data = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(data), model(data))
