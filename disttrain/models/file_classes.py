"""The classes of models that files name. Each enters itself, so whatever reads and writes files needs none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from disttrain.models.network import Network

N = TypeVar("N", bound=type[Network])

CLASSES: dict[str, type[Network]] = {}
"""By the name that files have for it."""


def named_in_files(name: str) -> Callable[[N], N]:
    """Decorator: files call this class `name`."""

    def enter(cls: N) -> N:
        CLASSES[name] = cls
        return cls

    return enter
