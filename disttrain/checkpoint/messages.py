"""The form of a refusal: one line that says what is wrong, then what was expected, what was found, and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def explain(headline: str, *, expected: str, found: str, remedy: str) -> str:
    """The message of a checkpoint error; `remedy` is the line after "try"."""
    return f"{headline}\n  expected  {expected}\n  found     {found}\n  try       {remedy}"


def some(names: Iterable[str], limit: int = 4) -> str:
    """The first `limit` names and how many more there are, for a message that must stay short.

    Example:
        >>> some(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    listed = list(names)
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"


def nearest_first(name: str, valid: Iterable[str]) -> list[str]:
    """`valid` ordered by likeness to `name`, the likeliest first."""
    return sorted(valid, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())
