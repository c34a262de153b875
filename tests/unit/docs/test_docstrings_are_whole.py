"""What a person reads of a layer, a loss or a call says all: each argument, shapes, what it raises, where a formula comes from."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import disttrain as dt

LAYERS = sorted(
    {cls for name in dt.layers.__all__ if isinstance(cls := getattr(dt.layers, name), type)} - {dt.layers.InputSpec},
    key=lambda c: c.__name__,
)
LOSSES = sorted(
    {cls for name in dt.losses.__all__ if isinstance(cls := getattr(dt.losses, name), type) and name != "LossOfTorch"},
    key=lambda c: c.__name__,
)

# Layers that compute nothing a paper would have to say: they move, join, cut, count or look up.
PLAIN = {
    "Activation", "Add", "Average", "CategoryEncoding", "CenterCrop", "Concatenate", "Cropping1D", "Cropping2D", "Cropping3D",
    "Discretization", "Dot", "EinsumDense", "Flatten", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "Identity", "InputLayer", "IntegerLookup", "Lambda", "Layer", "Masking", "Maximum", "Minimum", "Multiply", "Normalization",
    "Permute", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation",
    "RandomZoom", "RepeatVector", "Rescaling", "Reshape", "StackedRNNCells", "StringLookup", "Subtract", "TextVectorization",
    "TimeDistributed", "TorchModule", "UnitNormalization", "UpSampling1D", "UpSampling3D", "Wrapper", "ZeroPadding1D",
    "ZeroPadding2D", "ZeroPadding3D",
}  # fmt: skip
RAISES_NOTHING = {"Identity"}
ERRORS = re.compile(r"^(ValueError|DataError|UsageError|RuntimeError|AttributeError|NotImplementedError): \S", re.MULTILINE)


def text_of(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def raised(text: str) -> list[str]:
    """The errors in a docstring's section."""
    section = re.search(r"^Raises:\n((?: .*\n?)+)", text, re.MULTILINE)
    return [] if section is None else ERRORS.findall(inspect.cleandoc("\n" + section[1]))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda cls: cls.__name__)
def test_a_layer_says_what_it_raises_and_where_its_formula_comes_from(layer: type):
    text = text_of(layer)
    assert bool(raised(text)) != (layer.__name__ in RAISES_NOTHING)
    assert bool(re.search(r"\b(19|20)\d\d\b", text)) != (layer.__name__ in PLAIN)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda cls: cls.__name__)
def test_a_loss_says_its_shapes_and_what_it_raises(loss: type):
    text = text_of(loss)
    assert re.search(r"\(n, |shape", text) and "ValueError" in raised(text) and "DataError" in raised(text)


@pytest.mark.parametrize("call", ["compile", "fit", "evaluate", "predict"])
def test_each_argument_of_a_call_is_named(call: str):
    method = getattr(dt.Model, call)
    text = text_of(method)
    section = text[text.index("Args:") :]
    named = {name.strip() for line in re.findall(r"^    ([\w, ]+): ", section, re.MULTILINE) for name in line.split(",")}
    assert set(inspect.signature(method).parameters) - {"self"} <= named and raised(text)
