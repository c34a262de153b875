"""Preprocessing that belongs in a model."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.category_encoding import CategoryEncoding
from disttrain.layers.preprocessing.center_crop import CenterCrop
from disttrain.layers.preprocessing.discretization import Discretization
from disttrain.layers.preprocessing.hashed_crossing import HashedCrossing
from disttrain.layers.preprocessing.hashing import Hashing
from disttrain.layers.preprocessing.integer_lookup import IntegerLookup
from disttrain.layers.preprocessing.normalization import Normalization
from disttrain.layers.preprocessing.random_brightness import RandomBrightness
from disttrain.layers.preprocessing.random_contrast import RandomContrast
from disttrain.layers.preprocessing.random_crop import RandomCrop
from disttrain.layers.preprocessing.random_erasing import RandomErasing
from disttrain.layers.preprocessing.random_flip import RandomFlip
from disttrain.layers.preprocessing.random_rotation import RandomRotation
from disttrain.layers.preprocessing.random_translation import RandomTranslation
from disttrain.layers.preprocessing.random_zoom import RandomZoom
from disttrain.layers.preprocessing.rescaling import Rescaling
from disttrain.layers.preprocessing.resizing import Resizing
from disttrain.layers.preprocessing.string_lookup import StringLookup
from disttrain.layers.preprocessing.text_vectorization import TextVectorization

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "CategoryEncoding": CategoryEncoding,
    "CenterCrop": CenterCrop,
    "Discretization": Discretization,
    "HashedCrossing": HashedCrossing,
    "Hashing": Hashing,
    "IntegerLookup": IntegerLookup,
    "Normalization": Normalization,
    "RandomBrightness": RandomBrightness,
    "RandomContrast": RandomContrast,
    "RandomCrop": RandomCrop,
    "RandomErasing": RandomErasing,
    "RandomFlip": RandomFlip,
    "RandomRotation": RandomRotation,
    "RandomTranslation": RandomTranslation,
    "RandomZoom": RandomZoom,
    "Rescaling": Rescaling,
    "Resizing": Resizing,
    "StringLookup": StringLookup,
    "TextVectorization": TextVectorization,
}

__all__ = [
    "CategoryEncoding",
    "CenterCrop",
    "Discretization",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "Normalization",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "Rescaling",
    "Resizing",
    "StringLookup",
    "TextVectorization",
]
