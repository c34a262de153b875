"""Examples in docstrings say what happens."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import disttrain

NOT_IMPORTED_ALONE = {"disttrain.__main__"}
MODULES = sorted(module.name for module in pkgutil.walk_packages(disttrain.__path__, "disttrain.") if module.name not in NOT_IMPORTED_ALONE)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if not name.startswith(("disttrain.cli", "disttrain.clusters", "disttrain.testing"))]
)
def test_the_examples_of_a_module_run_as_they_stand(name: str):
    module = importlib.import_module(name)
    disttrain.clear_session()
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
