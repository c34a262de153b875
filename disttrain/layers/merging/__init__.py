"""Layers that make one tensor of several."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.merging.concatenate import Concatenate, concatenate
from disttrain.layers.merging.dot import Dot, dot
from disttrain.layers.merging.elementwise import (
    Add,
    Average,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    maximum,
    minimum,
    multiply,
    subtract,
)

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Add": Add,
    "Average": Average,
    "Concatenate": Concatenate,
    "Dot": Dot,
    "Maximum": Maximum,
    "Minimum": Minimum,
    "Multiply": Multiply,
    "Subtract": Subtract,
}

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]
