import doctest
import importlib
import pkgutil

import pytest

from disttrain import callbacks

MODULES = [module.name for module in pkgutil.walk_packages(callbacks.__path__, callbacks.__name__ + ".")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
