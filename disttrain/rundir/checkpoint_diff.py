"""What differs between two checkpoints: tensors that one alone has, of other dtypes or shapes, of other values; and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from disttrain.checkpoint import Manifest, NamedArray, TensorSpec, load
from disttrain.rundir.checkpoint_list import Place, chosen, metrics_of, pieces_of, place_of
from disttrain.training.step.named_arrays import as_tensor


@dataclass(frozen=True)
class Changed:
    """A tensor that both have.

    Attributes:
        first, second: dtype and shape, as in "F32 [4, 3]".
        elements: how many have other values; None where dtype or shape differ.
        largest: the largest difference of two values; None also where that is no number.
    """

    name: str
    first: str
    second: str
    elements: int | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Difference:
    """Of two checkpoints; `equal` tensors have the same bits."""

    first: str
    second: str
    equal: int = 0
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    metrics: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Are all tensors there, with the same bits?"""
        return not (self.only_first or self.only_second or self.changed)


def difference(first: str, second: str) -> Difference:
    """Between the checkpoints at two addresses, RUN for its newest or RUN/NAME. Arrays are read only where digests do not tell.

    Raises:
        UsageError, CheckpointError: as `chosen`.
    """
    places = place_of(first), place_of(second)
    one, two = (chosen(place) for place in places)
    specs = [{spec.name: spec for spec in manifest.tensors} for manifest in (one, two)]
    both = [name for name in specs[0] if name in specs[1]]
    alike = [name for name in both if specs[0][name] == specs[1][name]]
    same = _same(one, two, alike)
    asked = [name for name in alike if name not in same]
    changed = {name: Changed(name, _words(specs[0][name]), _words(specs[1][name])) for name in both if specs[0][name] != specs[1][name]}
    if asked:
        arrays = [load(place.store, str(manifest.name)).arrays for place, manifest in zip(places, (one, two), strict=True)]
        for name in asked:
            if arrays[0][name].data.tobytes() == arrays[1][name].data.tobytes():
                same.add(name)
                continue
            words, (elements, largest) = _words(specs[0][name]), _values(arrays[0][name], arrays[1][name])
            changed[name] = Changed(name, words, words, elements, largest)
    metrics = metrics_of(one.extra), metrics_of(two.extra)
    return Difference(
        _address(places[0], one),
        _address(places[1], two),
        len(same),
        tuple(sorted(set(specs[0]) - set(specs[1]))),
        tuple(sorted(set(specs[1]) - set(specs[0]))),
        tuple(changed[name] for name in sorted(changed)),
        {name: (metrics[0].get(name), metrics[1].get(name)) for name in sorted({*metrics[0], *metrics[1]})},
    )


def _same(one: Manifest, two: Manifest, names: list[str]) -> set[str]:
    """Of tensors of one dtype and shape, those with equal digests, piece by piece: what is cut in other places is not known yet."""
    first, second = pieces_of(one), pieces_of(two)
    found = set(names)
    for where in {*first, *second}:
        if first.get(where) != second.get(where):
            found.discard(where[0])
    return found


def _values(one: NamedArray, two: NamedArray) -> tuple[int, float | None]:
    """(how many elements differ in their bits, the largest difference between two of them)."""
    width = one.data.size // max(1, int(np.prod(one.shape)))
    bits = [array.data.reshape(-1, width) for array in (one, two)]
    first, second = (as_tensor(array) for array in (one, two))
    wide = torch.complex128 if first.is_complex() else torch.float64
    largest = float((first.to(wide) - second.to(wide)).abs().max())
    return int((bits[0] != bits[1]).any(axis=1).sum()), largest if np.isfinite(largest) else None


def _words(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _address(place: Place, manifest: Manifest) -> str:
    return f"{place.run}/{manifest.name}"
