"""Mappings of a kind of their own, such as what tokenizers give: with other items, still of that kind."""

from __future__ import annotations

import copy
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Mapping, MutableMapping
from typing import Any

_PLAIN = (dict, OrderedDict, defaultdict)


def like_mapping(given: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """`items`, which has the keys of `given`, as a mapping of its kind: one whose items are attributes too stays one.

    Read-only mappings, and dataclasses that are dicts, become dicts.
    """
    kind = type(given)
    if kind in _PLAIN or hasattr(kind, "__dataclass_fields__") or not issubclass(kind, MutableMapping):
        return items
    made: Any = copy.copy(given)
    if isinstance(given, UserDict):
        made.data = items
        if getattr(made, "_encodings", None) is not None:  # what a tokenizer knows of rows, which may not be these
            made._encodings = None
        return made
    for key, item in items.items():
        made[key] = item
    return made
