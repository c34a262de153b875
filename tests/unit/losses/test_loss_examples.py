import doctest
import importlib
import pkgutil

import pytest

from disttrain import losses

MODULES = [module.name for module in pkgutil.walk_packages(losses.__path__, losses.__name__ + ".")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
