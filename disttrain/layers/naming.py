"""Names of layers: snake_case of the class, numbered per class in this process, as Keras does."""

from __future__ import annotations

import re
from collections import defaultdict

_counts: dict[str, int] = defaultdict(int)


def to_snake_case(name: str) -> str:
    """`"Conv2DTranspose"` -> `"conv2d_transpose"`, `"ReLU"` -> `"re_lu"`: Keras's rule, which file paths depend on."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(class_name: str) -> str:
    """The next name for an object of a class: `dense`, `dense_1`, `dense_2`, ..."""
    prefix = to_snake_case(class_name)
    number = _counts[prefix]
    _counts[prefix] += 1
    return f"{prefix}_{number}" if number else prefix


def clear_session() -> None:
    """Start counting names afresh, as in a new process."""
    _counts.clear()
