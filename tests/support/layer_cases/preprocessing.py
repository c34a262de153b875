"""Cases of the layers in `layers/preprocessing/`."""

from __future__ import annotations

import numpy as np
from layer_case import IMG, INTS, SEQ, VEC, Case, floats

PICTURES = np.abs(floats(3, 5, 4, 3))
BYTES = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3)).astype("uint8")
# Keras needs TensorFlow for these; tests/unit/layers/preprocessing/test_text_layers.py holds them to what it gives with it.
IN_PYTHON = {"keras": False, "differentiable": False, "traced": False}
DRAWS = {"drawn": True, "traced": False}  # called without `training` these draw, so two calls differ

CASES: dict[str, Case] = {
    "CategoryEncoding": Case(lambda L: L.CategoryEncoding(4), INTS),
    "CategoryEncoding, counts": Case(lambda L: L.CategoryEncoding(5, output_mode="count"), INTS),
    "CategoryEncoding, one-hot": Case(lambda L: L.CategoryEncoding(4, "one_hot"), INTS),
    "CategoryEncoding, one-hot of one": Case(lambda L: L.CategoryEncoding(4, "one_hot"), INTS[:, :1]),
    "CategoryEncoding, weights": Case(
        lambda L: L.CategoryEncoding(4, "count"), INTS, {"count_weights": np.array([[0.1, 0.2, 0.3], [1, 2, 3]], "float32")}
    ),
    "CenterCrop": Case(lambda L: L.CenterCrop(3, 2), IMG),
    "CenterCrop, channels first": Case(lambda L: L.CenterCrop(2, 3, "channels_first"), IMG),
    "CenterCrop, too small": Case(lambda L: L.CenterCrop(7, 3), IMG),
    "Discretization": Case(lambda L: L.Discretization([-0.5, 0.0, 1.0]), VEC, differentiable=False),
    "Discretization, counts": Case(lambda L: L.Discretization([-0.5, 0.5], output_mode="count"), VEC, differentiable=False),
    "Discretization, multi-hot": Case(lambda L: L.Discretization([0, 1], output_mode="multi_hot"), VEC, differentiable=False),
    "Discretization, one-hot": Case(lambda L: L.Discretization([0.0], output_mode="one_hot"), SEQ, differentiable=False),
    "HashedCrossing": Case(lambda L: L.HashedCrossing(5), [INTS[:, :1], INTS[:, 1:2]], **IN_PYTHON),
    "Hashing": Case(lambda L: L.Hashing(4), INTS, **IN_PYTHON),
    "Hashing, counts": Case(lambda L: L.Hashing(4, mask_value=0, output_mode="count"), INTS, **IN_PYTHON),
    "IntegerLookup": Case(lambda L: L.IntegerLookup(vocabulary=[1, 3]), INTS, **IN_PYTHON),
    "IntegerLookup, multi-hot": Case(lambda L: L.IntegerLookup(vocabulary=[1, 3, 2], output_mode="multi_hot"), INTS, **IN_PYTHON),
    "Normalization": Case(lambda L: L.Normalization(), VEC),
    "Normalization, everything": Case(lambda L: L.Normalization(axis=None), IMG),
    "Normalization, given": Case(lambda L: L.Normalization(mean=[1.0, 2, 3], variance=[0.5, 1, 2]), SEQ),
    "Normalization, given numbers": Case(lambda L: L.Normalization(None, 3.0, 2.0, invert=True), VEC),
    "Normalization, inverse over two axes": Case(lambda L: L.Normalization((1, -1), invert=True), SEQ),
    "RandomBrightness": Case(lambda L: L.RandomBrightness(0.2), PICTURES, **DRAWS),
    "RandomBrightness, of bytes": Case(lambda L: L.RandomBrightness((-0.5, 0.1), (0.0, 255.0), 3), PICTURES, **DRAWS),
    "RandomContrast": Case(lambda L: L.RandomContrast((0.2, 0.5), (0.0, 1.0)), PICTURES, **DRAWS),
    # Keras's code hands images on as they are; its documentation, which this follows, says that they are cut and stretched.
    "RandomCrop": Case(lambda L: L.RandomCrop(3, 2, seed=1), PICTURES, keras=False, **DRAWS),
    "RandomCrop, channels first": Case(lambda L: L.RandomCrop(4, 3, 1, "channels_first"), PICTURES, keras=False, **DRAWS),
    "RandomErasing": Case(lambda L: L.RandomErasing(), PICTURES, **DRAWS),
    "RandomErasing, with a color": Case(lambda L: L.RandomErasing((0.5, 1), (0.1, 0.2), [1, 2.0, 3], (0, 9), 4), PICTURES, **DRAWS),
    "RandomFlip": Case(lambda L: L.RandomFlip(), PICTURES, **DRAWS),
    "RandomFlip, horizontal": Case(lambda L: L.RandomFlip("horizontal", 5, data_format="channels_first"), PICTURES, **DRAWS),
    "RandomRotation": Case(lambda L: L.RandomRotation(0.1), PICTURES, **DRAWS),
    "RandomRotation, nearest": Case(lambda L: L.RandomRotation((-0.2, 0.3), "constant", "nearest", 3, 0.5), PICTURES, **DRAWS),
    "RandomTranslation": Case(lambda L: L.RandomTranslation(0.2, (-0.1, 0.3)), PICTURES, **DRAWS),
    "RandomTranslation, wrap": Case(
        lambda L: L.RandomTranslation(0.2, 0, fill_mode="wrap", data_format="channels_first"), PICTURES, **DRAWS
    ),
    "RandomZoom": Case(lambda L: L.RandomZoom(0.3), PICTURES, **DRAWS),
    "RandomZoom, both": Case(lambda L: L.RandomZoom((-0.3, -0.1), 0.5, "nearest", seed=1), PICTURES, **DRAWS),
    "Rescaling": Case(lambda L: L.Rescaling(0.5, offset=0.25), IMG),
    "Rescaling, each channel": Case(lambda L: L.Rescaling([1.0, 2.0, 3.0, 4.0], [0.5, 0, 0, 1]), IMG),
    "Resizing": Case(lambda L: L.Resizing(3, 7), IMG),
    "Resizing, antialias": Case(lambda L: L.Resizing(4, 2, "bicubic", antialias=True), IMG),
    # Keras's torch backend takes torch's own curve, a = -0.75: see tests/parity/test_preprocessing_parity.py.
    "Resizing, bicubic": Case(lambda L: L.Resizing(9, 3, "bicubic"), IMG, keras=False),
    "Resizing, bytes": Case(lambda L: L.Resizing(3, 4), BYTES),
    "Resizing, crop": Case(lambda L: L.Resizing(4, 2, crop_to_aspect_ratio=True, data_format="channels_first"), IMG),
    "Resizing, nearest": Case(lambda L: L.Resizing(4, 9, "nearest"), IMG),
    "Resizing, pad": Case(lambda L: L.Resizing(4, 9, pad_to_aspect_ratio=True, fill_value=0.5), IMG),
}
