"""Names of layers: snake_case of the class, numbered per class in this process, as Keras does."""

from __future__ import annotations

from collections import defaultdict

from disttrain.identifiers import to_snake_case

_counts: dict[str, int] = defaultdict(int)


def auto_name(class_name: str) -> str:
    """The next name for an object of a class: `dense`, `dense_1`, `dense_2`, ..."""
    prefix = to_snake_case(class_name)
    number = _counts[prefix]
    _counts[prefix] += 1
    return f"{prefix}_{number}" if number else prefix


def clear_session() -> None:
    """Start counting names afresh, as in a new process."""
    _counts.clear()
