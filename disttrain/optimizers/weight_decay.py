"""Which variables are left out of weight decay."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor


def which_decay(
    params: Sequence[Tensor], names: Sequence[str] | None, excluded: Sequence[Tensor], excluded_names: Sequence[str]
) -> list[bool] | None:
    """Whether each variable is decayed; None: all are.

    Args:
        params, names: the variables, and what they are called if that is known.
        excluded: variables that are not decayed.
        excluded_names: regular expressions; a variable in whose name one is found is not decayed.
    """
    if not (excluded or excluded_names):
        return None
    known = variable_names(params, names)
    if excluded_names and not all(known):
        raise ValueError(
            f"exclude_from_weight_decay(var_names={list(excluded_names)}): the variables have no names.\n"
            "  try       build(params, names), or exclude_from_weight_decay(var_list=[...])"
        )
    pattern = re.compile("|".join(excluded_names)) if excluded_names else None
    return [
        not any(param is other for other in excluded) and not (pattern is not None and pattern.search(name))
        for param, name in zip(params, known, strict=True)
    ]


def variable_names(params: Sequence[Tensor], names: Sequence[str] | None) -> list[str]:
    """`names`, or what the variables themselves are called; "" where that is unknown."""
    return list(names) if names is not None else [str(getattr(param, "name", None) or "") for param in params]
