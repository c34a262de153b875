"""Cases of the layers in `layers/attention/`."""

from __future__ import annotations

from layer_case import Case

CASES: dict[str, Case] = {}
