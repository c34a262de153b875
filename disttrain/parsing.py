"""JSON from a file or a line that somebody else may have written: whatever is in it, it is read or it is a ValueError."""

from __future__ import annotations

import json
from typing import Any


def parsed(data: bytes | str) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or is nested deeper than Python follows: of 200,000 times `[`, `json` makes a RecursionError.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep to be read") from None


def parsed_object(data: bytes | str) -> dict[str, Any]:
    """The same of a JSON object.

    Raises:
        ValueError: it is none.
    """
    found = parsed(data)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {'null' if found is None else type(found).__name__}")
    return found
