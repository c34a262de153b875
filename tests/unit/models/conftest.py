"""Names of layers count from the start in each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from disttrain.layers import clear_session


@pytest.fixture(autouse=True)
def fresh_names() -> Iterator[None]:
    clear_session()
    yield
    clear_session()
