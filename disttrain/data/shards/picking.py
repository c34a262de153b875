"""Which fields of a sample are inputs, which is the target: from dicts, and from columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from disttrain.errors import DataError


@dataclass(frozen=True)
class Picks:
    """Names of fields.

    Args:
        columns: of inputs: a name, whose values are x alone; a list, which makes a dict of them by name; None: all that are not named
            elsewhere.
        target, weight: of y and of sample_weight; None where there are none.
        stack: put the columns, all of them numbers, into one array of shape (samples, columns).
    """

    columns: str | list[str] | None = None
    target: str | list[str] | None = None
    weight: str | None = None
    stack: bool = False

    def names(self) -> list[str] | None:
        """All that are needed; None: whatever there is."""
        if self.columns is None:
            return None
        return list(dict.fromkeys([*_listed(self.columns), *_listed(self.target), *_listed(self.weight)]))

    def parts(self, fields: Mapping[str, Any], where: str) -> tuple[Any, Any, Any]:
        """(x, y, sample_weight) of a sample, or of columns.

        Raises:
            DataError: a field is not there.
        """
        columns = self.columns
        if columns is None:
            named = {*_listed(self.target), *_listed(self.weight), "__key__"}
            columns = [name for name in fields if name not in named]
        x = self._part(fields, columns, where)
        if self.stack and isinstance(x, dict):
            x = self._stacked(x)
        return x, self._part(fields, self.target, where), self._part(fields, self.weight, where)

    def sample(self, fields: Mapping[str, Any], where: str) -> Any:
        """What a dataset gives for a sample: x, (x, y) or (x, y, sample_weight)."""
        x, y, weight = self.parts(fields, where)
        if weight is not None:
            weight = np.float32(weight)
        return (x, y, weight) if weight is not None else x if y is None else (x, y)

    def _part(self, fields: Mapping[str, Any], names: str | list[str] | None, where: str) -> Any:
        if names is None:
            return None
        if isinstance(names, str):
            return _field(fields, names, where)
        return {name: _field(fields, name, where) for name in names}

    def _stacked(self, x: dict[str, Any]) -> Any:
        arrays = {name: np.asarray(value) for name, value in x.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise DataError(f"stack=True: the column {name!r} holds no numbers.\n  try       columns=[...], with those that do")
        return np.stack([array.astype(np.float32) for array in arrays.values()], axis=-1)


def _value(value: Any, name: str, where: str) -> Any:
    """A list of numbers, of JSON, as an array."""
    if value is None:
        raise DataError(f"{where} has no value in {name!r}.\n  expected  one in each\n  try       transform=, which puts one there")
    if not isinstance(value, list) or not value or isinstance(value[0], str | dict):
        return value
    try:
        return np.asarray(value)
    except ValueError:
        raise DataError(f"{where} has in {name!r} rows of unequal length: expected numbers of one shape.\n  try       transform=") from None


def _listed(names: str | list[str] | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _field(fields: Mapping[str, Any], name: str, where: str) -> Any:
    for one in name.split(";"):  # as WebDataset writes it: whichever of these there is
        if one in fields:
            return _value(fields[one], one, where)
    there = ", ".join(str(field) for field in fields if field != "__key__")
    raise DataError(f"{where} has no {name!r}.\n  expected  one of {there}" if there else f"{where} has no {name!r}, nor anything else.")
