"""A stand-in for a model, as callbacks see it."""

from __future__ import annotations

import pytest
from callback_model import FakeModel


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()
