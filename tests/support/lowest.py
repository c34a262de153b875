"""The lowest versions that pyproject.toml allows, as requirements: `python lowest.py [EXTRA ...]`; `make test-lowest` installs them."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_DECLARED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+(\[[\w,-]+\])?)\s*(>=|~=|==)\s*(?P<lowest>[0-9][0-9a-z.]*)")


def lowest(declared: str) -> str:
    """`NAME==LOWEST` of one requirement.

    Example:
        >>> lowest("ray>=2.40,<2.61")
        'ray==2.40'

    Raises:
        ValueError: no lower bound is declared.
    """
    found = _DECLARED.match(declared)
    if found is None:
        raise ValueError(f"{declared!r} in pyproject.toml: expected a lower bound, which is a promise too, such as 'name>=1.2'.")
    return f"{found['name']}=={found['lowest']}"


def lowest_of_project(extras: tuple[str, ...] = ()) -> list[str]:
    """Of every direct dependency, and of those of these extras."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *(item for extra in extras for item in project["optional-dependencies"][extra])]
    return [lowest(item) for item in declared]


if __name__ == "__main__":
    print(*lowest_of_project(tuple(sys.argv[1:])))
