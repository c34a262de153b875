"""What docstrings say of errors is so: of each layer and each loss, one wrong use that its docstring names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from disttrain import errors, layers, losses

Z = torch.zeros
Wrong = Callable[[Any], Any]

# The class is called L.
LAYERS: dict[str, Wrong] = {
    "Activation": lambda L: L("no such activation"),
    "ELU": lambda L: L(alpha="one"),
    "LeakyReLU": lambda L: L(negative_slope=-1.0),
    "PReLU": lambda L: L(shared_axes=[0]),
    "ReLU": lambda L: L(max_value=-1.0),
    "Softmax": lambda L: L(axis="last"),
    "AdditiveAttention": lambda L: L(dropout=2.0),
    "Attention": lambda L: L(score_mode="sum"),
    "GroupQueryAttention": lambda L: L(4, 3, 2),
    "MultiHeadAttention": lambda L: L(0, 2),
    "Dense": lambda L: L(3)(Z(4)),
    "EinsumDense": lambda L: L("no equation", 3),
    "Embedding": lambda L: L(3, 2)(torch.tensor([[3]])),
    "ReversibleEmbedding": lambda L: L(3, 2, logit_soft_cap=0.0),
    "InputLayer": lambda L: L(),
    "Lambda": lambda L: L("no function"),
    "Layer": lambda L: L(no_such_keyword=1),
    "Masking": lambda L: L(mask_value="zero"),
    "Wrapper": lambda L: L("no layer"),
    "Concatenate": lambda L: L(axis="last"),
    "Dot": lambda L: L(axes=0),
    **dict.fromkeys(("Add", "Average", "Multiply", "Maximum", "Minimum", "Subtract"), lambda L: L()([Z(2, 3), Z(2, 4)])),
    "BatchNormalization": lambda L: L(momentum=2.0),
    "GroupNormalization": lambda L: L(groups=3)(Z(2, 4)),
    "LayerNormalization": lambda L: L(epsilon=-1.0),
    "RMSNormalization": lambda L: L(epsilon=-1.0),
    "SpectralNormalization": lambda L: L(layers.Flatten())(Z(2, 3)),
    "UnitNormalization": lambda L: L(axis=5)(Z(2, 3)),
    "CategoryEncoding": lambda L: L(num_tokens=3, output_mode="no such mode"),
    "CenterCrop": lambda L: L(0, 2),
    "Discretization": lambda L: L(),
    "HashedCrossing": lambda L: L(0),
    "Hashing": lambda L: L(0),
    "IntegerLookup": lambda L: L()(torch.tensor([1])),
    "StringLookup": lambda L: L(vocabulary=["a", "a"]),
    "TextVectorization": lambda L: L(output_mode="no such mode"),
    "Normalization": lambda L: L(mean=1.0),
    **dict.fromkeys(("RandomBrightness", "RandomContrast"), lambda L: L(0.1)(Z(3))),
    "RandomErasing": lambda L: L()(Z(3)),
    "RandomCrop": lambda L: L(0, 2),
    "RandomFlip": lambda L: L(mode="no such mode"),
    **dict.fromkeys(("RandomRotation", "RandomZoom"), lambda L: L(0.1, fill_mode="no such mode")),
    "RandomTranslation": lambda L: L(0.1, 0.1, fill_mode="no such mode"),
    "Rescaling": lambda L: L(scale="a lot"),
    "Resizing": lambda L: L(4, 4, interpolation="no such way"),
    "Bidirectional": lambda L: L(layers.Dense(2)),
    **dict.fromkeys(("GRU", "LSTM", "SimpleRNN"), lambda L: L(3)(Z(2, 4))),
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell"), lambda L: L(0)),
    "RNN": lambda L: L(layers.Dense(2)),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), lambda L: L(2, 3, strides=2, dilation_rate=2)),
    "StackedRNNCells": lambda L: L([]),
    "TimeDistributed": lambda L: L(layers.Dense(2))(Z(2, 3)),
    "ActivityRegularization": lambda L: L(l1=-1.0),
    **dict.fromkeys(("AlphaDropout", "GaussianDropout"), lambda L: L(1.0)),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), lambda L: L(2.0)),
    "GaussianNoise": lambda L: L(2.0),
    "Flatten": lambda L: L(data_format="no such format"),
    "Permute": lambda L: L((0, 1)),
    "RepeatVector": lambda L: L(3)(Z(2, 3, 4)),
    "Reshape": lambda L: L((5,))(Z(2, 3)),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), lambda L: L(3, 2, groups=2)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), lambda L: L(3, padding="no such padding")),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), lambda L: L(3, 2, padding="no such padding")),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), lambda L: L(3, 2, strides=2, output_padding=2)),
    **{f"{kind}Pooling{n}D": lambda L: L(2, padding="no such padding") for kind in ("Max", "Average") for n in "123"},
    **{f"Adaptive{kind}Pooling{n}D": lambda L: L(0) for kind in ("Max", "Average") for n in "123"},
    **{f"Global{kind}Pooling{n}D": lambda L: L()(Z(2, 3)) for kind in ("Max", "Average") for n in "123"},
    **{f"{kind}{n}D": lambda L: L(-1) for kind in ("Cropping", "ZeroPadding") for n in "123"},
    **{f"UpSampling{n}D": lambda L: L(0) for n in "123"},
}
WITHOUT = {"Identity", "InputSpec", "TorchModule"}  # nothing of its own; no layer; only a file refuses it

a_loss: Wrong = lambda L: L(reduction="no such reduction")  # noqa: E731
two_shapes: Wrong = lambda L: L()(Z(2, 3), Z(2, 4))  # noqa: E731
LOSSES: dict[str, tuple[Wrong, Wrong]] = {
    name: (a_loss, two_shapes) for name in losses.__all__ if isinstance(getattr(losses, name), type) and name != "LossOfTorch"
}
LOSSES["Loss"] = (a_loss, lambda L: losses.MeanSquaredError()(Z(2, 3), Z(2, 3), sample_weight=Z(5)))
LOSSES["FunctionLoss"] = (
    lambda L: L(losses.mean_squared_error, reduction="no such reduction"),
    lambda L: L(losses.mean_squared_error)(Z(2, 3), Z(2, 4)),
)
LOSSES["CTC"] = (a_loss, lambda L: L()(Z(2, 3), Z(2, 4)))


def classes(room: Any) -> set[str]:
    return {thing.__name__ for name in room.__all__ if isinstance(thing := getattr(room, name), type)}


def test_each_layer_and_each_loss_has_its_wrong_use():
    assert classes(layers) - WITHOUT == set(LAYERS) and classes(losses) - {"LossOfTorch"} == set(LOSSES)  # that one is torch's


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_layer_refuses_what_its_docstring_says(name: str):
    with pytest.raises(ValueError):
        LAYERS[name](getattr(layers, name))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_refuses_what_its_docstring_says(name: str):
    loss = getattr(losses, name)
    with pytest.raises(ValueError):
        LOSSES[name][0](loss)
    with pytest.raises(errors.DataError):
        LOSSES[name][1](loss)
