"""Version bounds are promises: each dependency has a lowest version, which `make test-lowest` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from lowest import lowest, lowest_of_project

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_dependency_has_a_lowest_version():
    extras = tuple(name for name in PROJECT["optional-dependencies"] if name not in ("bench", "dev"))
    assert len(lowest_of_project(extras)) >= len(PROJECT["dependencies"]) + len(extras)


@pytest.mark.parametrize(
    ("declared", "pinned"),
    [
        ("ray>=2.40,<2.61", "ray==2.40"),
        ("keras~=3.15", "keras==3.15"),
        ("ray[train]>=2.51", "ray[train]==2.51"),
        ("xxhash>=3.4", "xxhash==3.4"),
    ],
)
def test_the_lowest_version_is_the_lower_bound(declared, pinned):
    assert lowest(declared) == pinned


def test_a_dependency_without_a_lower_bound_is_named():
    with pytest.raises(ValueError, match=r"'types-PyYAML' in pyproject\.toml: expected a lower bound"):
        lowest("types-PyYAML")


def test_the_tests_of_the_lowest_versions_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (names,) = re.findall(r"^LOWEST_TESTS := \$\(addprefix tests/unit/, (.*)\)$", makefile, re.MULTILINE)
    assert names.split() and [name for name in names.split() if not (ROOT / "tests" / "unit" / name).is_file()] == []
