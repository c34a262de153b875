"""The names of `disttrain.layers`, which load when they are used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import keras
import pytest

from disttrain import layers

# Layers of Keras that are not here: bridges to other frameworks; sound; augmentation beyond the usual.
NOT_HERE = {
    "AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix", "Equalization", "FlaxLayer", "JaxLayer",
    "MaxNumBoundingBoxes", "MelSpectrogram", "MixUp", "Pipeline", "RandAugment", "RandomColorDegeneration", "RandomColorJitter",
    "RandomElasticTransform", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomSaturation", "RandomSharpness", "RandomShear", "STFTSpectrogram", "Solarization", "TFSMLayer",
    "TorchModuleWrapper",
}  # fmt: skip


@pytest.mark.parametrize("folder", layers._NAMES)
def test_a_folder_has_the_names_that_the_package_says(folder: str):
    module = import_module(f"disttrain.layers.{folder}")
    assert sorted(layers._NAMES[folder].split()) == sorted(module.__all__)
    assert set(module.CLASSES) <= set(layers.CLASSES)


def test_a_script_that_uses_dense_layers_does_not_wait_for_convolutions():
    script = "import sys; from disttrain.layers import Dense; print([name for name in sys.modules if 'layers.conv' in name])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_name_that_is_no_layer_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Dens'"):
        layers.Dens  # noqa: B018


def test_every_layer_of_keras_is_here_or_is_known_not_to_be():
    theirs = {name for name, thing in vars(keras.layers).items() if isinstance(thing, type) and issubclass(thing, keras.layers.Layer)}
    assert theirs - set(layers.__all__) == NOT_HERE
