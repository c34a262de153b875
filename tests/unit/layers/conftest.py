"""The harness as a fixture: test folders are no packages, so its module is loaded from beside this file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disttrain.layers import clear_session


@pytest.fixture(scope="session")
def harness() -> Any:
    spec = importlib.util.spec_from_file_location("layer_harness", Path(__file__).with_name("harness.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fresh_names() -> Iterator[None]:
    clear_session()
    yield
    clear_session()
