import doctest
import importlib
import pkgutil

import pytest

from disttrain import metrics

MODULES = [module.name for module in pkgutil.walk_packages(metrics.__path__, metrics.__name__ + ".")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
